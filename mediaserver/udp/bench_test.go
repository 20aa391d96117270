package udp

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// drain opens sockets that are read from until the benchmark ends, and returns the addresses to send to.
func drain(b *testing.B, from *Socket, count int) []*Destination {
	b.Helper()
	destinations := make([]*Destination, count)
	for i := range destinations {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			buffer := make([]byte, 2*MaxDatagram)
			for {
				if _, _, err := conn.ReadFromUDPAddrPort(buffer); err != nil {
					return
				}
			}
		}()
		b.Cleanup(func() {
			_ = conn.Close()
			<-ended
		})
		destinations[i] = from.Destination(localAddress(conn))
	}

	return destinations
}

// BenchmarkBatch is what a datagram costs from Append until the kernel has it; the receivers' goroutines share the
// processors with it.
func BenchmarkBatch(b *testing.B) {
	const size, receivers = 1128, 50
	for _, length := range []int{1, 4, 8, 16, 32} {
		for _, segmentation := range []bool{true, false} {
			b.Run(fmt.Sprintf("train=%d/segmentation=%v", length, segmentation), func(b *testing.B) {
				socket, err := listen("127.0.0.1:0", 1, offload{segmentation: segmentation})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = socket.Close() })
				destinations := drain(b, socket, receivers)
				batch := socket.workers[0].reader
				b.ReportAllocs()
				b.ResetTimer()
				for sent := 0; sent < b.N; {
					for _, destination := range destinations {
						batch.Room(length)
						for range length {
							batch.Append(destination, size)[0] = 1
						}
						sent += length
					}
					batch.Flush()
				}
				b.StopTimer()
				datagrams := socket.Stats().DatagramsSent
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(datagrams), "ns/datagram")
				b.ReportMetric(float64(socket.Stats().DatagramsRefused), "refused")
			})
		}
	}
}

// BenchmarkAppend is what adding a datagram costs, without the kernel.
func BenchmarkAppend(b *testing.B) {
	batch := NewBatch(0, nil)
	destinations := []*Destination{{}, {}}
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		memory := batch.Append(destinations[i>>3&1], 1128)
		if memory == nil {
			batch.Flush()

			continue
		}
		memory[0] = 1
	}
}

// BenchmarkReceive is what a datagram costs from the kernel's buffer until receive has it, for datagrams that come as
// trains and as the single ones of many peers.
func BenchmarkReceive(b *testing.B) {
	const size, datagrams = 1128, 256
	for _, trains := range []bool{true, false} {
		for _, coalescing := range []bool{true, false} {
			b.Run(fmt.Sprintf("trains=%v/coalescing=%v", trains, coalescing), func(b *testing.B) {
				from := listenTo(b, "127.0.0.1:0", 1, offload{segmentation: trains})
				to := listenTo(b, "127.0.0.1:0", 1, offload{coalescing: coalescing})
				batch, destination := from.workers[0].reader, from.Destination(to.Addr())
				var receiving time.Duration
				received := 0
				b.ReportAllocs()
				for received < b.N {
					for number := range datagrams {
						if number%8 == 0 {
							batch.Flush()
						}
						batch.Room(1)
						batch.Append(destination, size)[0] = 1
					}
					batch.Flush()
					begun := time.Now()
					for left := datagrams; left > 0; {
						burst, err := to.workers[0].receiver.receive()
						if err != nil {
							b.Fatal(err)
						}
						left -= len(burst)
						received += len(burst)
					}
					receiving += time.Since(begun)
				}
				b.ReportMetric(float64(receiving.Nanoseconds())/float64(received), "ns/datagram")
				b.ReportMetric(float64(received)/float64(to.Stats().ReceiveCalls), "datagrams/call")
			})
		}
	}
}
