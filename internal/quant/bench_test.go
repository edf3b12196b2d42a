package quant

import "testing"

// The benchmarks run over a row of 8,192 values, which with its blocks fits in
// the second-level cache. Bytes are those of the encoded row.

func BenchmarkDecode(b *testing.B) {
	x := bellSample(8192)
	for i := range types {
		typ := Type(i)
		if !typ.Decodable() {
			continue
		}
		src := make([]byte, len(x)/typ.BlockLen()*typ.BlockBytes())
		if typ.Encodable() {
			src = encode(b, typ, x)
		}
		b.Run(typ.String(), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if err := Decode(typ, x, src); err != nil {
					b.Fatal(err)
				}
			}
			reportRate(b, len(x))
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	x := bellSample(8192)
	for _, typ := range encodable {
		dst := encode(b, typ, x)
		b.Run(typ.String(), func(b *testing.B) {
			b.SetBytes(int64(len(dst)))
			for b.Loop() {
				if err := Encode(typ, dst, x); err != nil {
					b.Fatal(err)
				}
			}
			reportRate(b, len(x))
		})
	}
}

func reportRate(b *testing.B, values int) {
	b.ReportMetric(float64(values)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mval/s")
}
