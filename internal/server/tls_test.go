package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// makeCertificate writes a certificate for 127.0.0.1 with this serial number and
// its key into dir.
func makeCertificate(t *testing.T, dir string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plan := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "plume test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, plan, plan, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, b := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// trusting is a client that believes what certFile holds, and opens a
// connection for each request.
func trusting(t *testing.T, certFile string, most uint16) *http.Client {
	t.Helper()
	text, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("no certificate")
	}
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: most},
	}}
}

// Over TLS the server answers and streams; it refuses old versions, tells who
// speaks plain HTTP what is wrong, and shows a renewed certificate without a
// restart.
func TestTLS(t *testing.T) {
	certFile, keyFile := makeCertificate(t, t.TempDir(), 1)
	cert, err := LoadCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := newTestServer(t, testOptions(&fakeEngine{script: hello}))
	plain, _, _ := serveHere(t, s, ListenOptions{Certificate: cert})
	url := strings.Replace(plain, "http:", "https:", 1)

	resp, err := trusting(t, certFile, 0).Post(url+"/v1/chat/completions", "application/json", strings.NewReader(strings.TrimSuffix(say, "}")+`,"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.TLS == nil || resp.TLS.Version != tls.VersionTLS13 || resp.ProtoMajor != 2 || !bytes.HasSuffix(text, []byte("data: [DONE]\n\n")) {
		t.Errorf("%s %+v: %s", resp.Proto, resp.TLS, text)
	}
	if _, err := trusting(t, certFile, tls.VersionTLS11).Get(url + "/health"); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
	if status, _, body := ask(t, "GET", plain+"/health", ""); status != 400 || !strings.Contains(body, "HTTP request to an HTTPS server") {
		t.Errorf("plain HTTP: %d %s", status, body)
	}

	// A renewal in its middle: a new certificate beside the old key.
	key, _ := os.ReadFile(keyFile)
	makeCertificate(t, filepath.Dir(certFile), 2)
	newKey, _ := os.ReadFile(keyFile)
	old := trusting(t, certFile, 0)
	old.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
	shown := func(keyPEM []byte, age time.Duration) int64 {
		t.Helper()
		if err := os.WriteFile(keyFile, keyPEM, 0o600); err != nil {
			t.Fatal(err)
		}
		// A file system's clock may be too coarse to tell two writes apart.
		if err := os.Chtimes(keyFile, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
		resp, err := old.Get(url + "/health")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if n := shown(key, 2*time.Hour); n != 1 {
		t.Errorf("half renewed: certificate %d", n)
	}
	if n := shown(newKey, time.Hour); n != 2 {
		t.Errorf("renewed: certificate %d", n)
	}
}

// Files that are not there, are something else or do not belong together are
// named.
func TestLoadCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := makeCertificate(t, dir, 1)
	_, otherKey := makeCertificate(t, t.TempDir(), 2)
	nothing := filepath.Join(dir, "nothing.pem")
	text := filepath.Join(dir, "text.pem")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cert, key, file, says string }{
		{nothing, key, nothing, "load certificate: "},
		{cert, nothing, nothing, "load certificate: "},
		{dir, key, dir, "load certificate: "},
		{text, key, text, "failed to find any PEM data"},
		{cert, text, text, "failed to find any PEM data"},
		{key, cert, key, "switched"},
		{cert, otherKey, otherKey, "does not match"},
	} {
		_, err := LoadCertificate(c.cert, c.key)
		if err == nil || !strings.Contains(err.Error(), c.file) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s and %s: %v", c.cert, c.key, err)
		}
	}
}
