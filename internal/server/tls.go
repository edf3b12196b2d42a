package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Certificate is a certificate and its key as two files hold them. Files that
// are renewed while the server runs are read again at the next connection.
type Certificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	current *tls.Certificate
	changed [2]time.Time // of the files when current was read
}

// LoadCertificate reads a certificate, with the chain behind it, and its key,
// both PEM. An error names the file.
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	changed, err := c.stat()
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	if err := c.load(changed); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Certificate) stat() (changed [2]time.Time, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return changed, err
		}
		changed[i] = info.ModTime()
	}
	return changed, nil
}

func (c *Certificate) load(changed [2]time.Time) error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	var path *os.PathError
	switch {
	case errors.As(err, &path): // names its file
		return fmt.Errorf("load certificate: %w", err)
	case err != nil:
		return fmt.Errorf("load certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current, c.changed = &pair, changed
	return nil
}

// config is for connections that show c. What cannot be read later on, while a
// renewal has replaced one file and not yet the other, leaves the one before.
func (c *Certificate) config(log *slog.Logger) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			changed, err := c.stat()
			if err == nil && changed != c.changed {
				if err = c.load(changed); err == nil {
					log.Info("certificate read again", "file", c.certFile)
				}
			}
			if err != nil {
				log.Warn("certificate kept as it was", "error", err)
			}
			return c.current, nil
		},
	}
}
