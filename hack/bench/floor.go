//go:build linux

package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"os/signal"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	slotBytes     = 1500
	receiveSlots  = 128
	messageSlots  = 128
	headerBytes   = 12
	longestTrain  = 32 // As ours.
	maxPadding    = 16 // As ours.
	arenaBytes    = 512 << 10
	udpSegment    = 103 // UDP_SEGMENT of linux/udp.h.
	controlLength = 24  // CMSG_SPACE(2) on 64-bit machines.
)

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
	_      uint32
}

// floorServer does what no forwarder can leave out and nothing else: one thread
// takes what has arrived, seals each packet for each receiver, and hands the
// results to the kernel.
type floorServer struct {
	socket    int
	mode      string
	receivers []*floorReceiver
	feedback  cipher.AEAD // Of what receivers report.
	counts    floorCounts

	messages [messageSlots]message
	vectors  [messageSlots]unix.Iovec
	controls [messageSlots][controlLength]byte
	arena    []byte
	used     int
	queued   int
}

type floorReceiver struct {
	address unix.RawSockaddrInet4
	aead    cipher.AEAD
	nonce   [12]byte
	ssrc    uint32
}

// floor runs until it is killed.
func floor(arguments []string) error {
	mode := strings.Join(arguments, " ")
	if mode != "sendto" && mode != "sendmmsg" && mode != "gso" {
		return fmt.Errorf("no floor %q: there are sendto, sendmmsg and gso", mode)
	}
	signal.Reset() // There is nothing to end gracefully.
	runtime.LockOSThread()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("bind a socket: %w", err)
	}
	// As far as the kernel's limit lets it grow.
	_ = unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	_ = unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20)
	name, err := unix.Getsockname(socket)
	if err != nil {
		return fmt.Errorf("ask for the own address: %w", err)
	}
	address, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return fmt.Errorf("ask for the own address: got %T", name)
	}
	f := &floorServer{socket: socket, mode: mode, arena: make([]byte, arenaBytes)}
	if f.feedback, err = newFloorCipher(); err != nil {
		return err
	}
	metrics, err := f.counts.serve()
	if err != nil {
		return err
	}
	fmt.Printf("listening address=127.0.0.1:%d metrics=%s\n", address.Port, metrics)

	return f.serve()
}

func (f *floorServer) serve() error {
	var messages [receiveSlots]message
	var vectors [receiveSlots]unix.Iovec
	var names [receiveSlots]unix.RawSockaddrInet4
	buffers := make([]byte, receiveSlots*slotBytes)
	for i := range messages {
		vectors[i].Base = &buffers[i*slotBytes]
		vectors[i].SetLen(slotBytes)
		messages[i].header.Iov = &vectors[i]
		messages[i].header.SetIovlen(1)
		messages[i].header.Name = (*byte)(unsafe.Pointer(&names[i]))
	}
	burst := make([][]byte, 0, receiveSlots)
	for {
		for i := range messages {
			messages[i].header.Namelen = unix.SizeofSockaddrInet4
		}
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(f.socket), uintptr(unsafe.Pointer(&messages[0])),
			receiveSlots, unix.MSG_WAITFORONE, 0, 0)
		if errno == unix.EINTR || errno == unix.ECONNREFUSED {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("receive: %w", errno)
		}
		burst = burst[:0]
		for i := range int(n) {
			packet := buffers[i*slotBytes : i*slotBytes+int(messages[i].length)]
			switch {
			case len(packet) < headerBytes:
				if err := f.register(names[i]); err != nil {
					return err
				}
			case isRTCP(packet):
				if _, err := openFloorFeedback(f.feedback, packet); err != nil {
					return err
				}
				f.counts.reports.Add(1)
			default:
				burst = append(burst, packet)
			}
		}
		if f.mode == "gso" {
			equalize(burst)
		}
		f.forward(burst)
	}
}

func (f *floorServer) register(address unix.RawSockaddrInet4) error {
	aead, err := newFloorCipher()
	if err != nil {
		return err
	}
	ssrc := uint32(len(f.receivers) + 1) //nolint:gosec // Tens.
	f.receivers = append(f.receivers, &floorReceiver{address: address, aead: aead, ssrc: ssrc})
	last := f.receivers[len(f.receivers)-1]
	f.sendTo(&last.address, []byte("hello"))

	return nil
}

// floorProfile is what the floor seals with.
const floorProfile = "AEAD_AES_128_GCM"

// newFloorCipher has a key of zeros: the cost is the same.
func newFloorCipher() (cipher.AEAD, error) {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}

	return aead, nil
}

// equalize pads a frame's packets to equal sizes, as our server does, so that they leave in one train. The last
// may be smaller. Each packet has room behind it.
func equalize(burst [][]byte) {
	for len(burst) > 0 {
		frame, largest := 0, 0
		for frame < len(burst) && bytes.Equal(burst[frame][4:8], burst[0][4:8]) {
			largest = max(largest, len(burst[frame]))
			frame++
		}
		for i, packet := range burst[:frame-1] {
			if missing := largest - len(packet); missing > 0 && missing <= maxPadding {
				packet[0] |= 0x20
				burst[i] = packet[:largest]
				clear(burst[i][len(packet):])
				burst[i][largest-1] = byte(missing)
			}
		}
		burst = burst[frame:]
	}
}

// forward walks the receivers over the whole burst, so that each one's packets
// lie side by side.
func (f *floorServer) forward(burst [][]byte) {
	for _, r := range f.receivers {
		train, trainSize := 0, 0 // Datagrams in it, and their size.
		for _, packet := range burst {
			size := len(packet) + 16
			if f.queued == messageSlots || f.used+size > arenaBytes {
				f.flush()
				train = 0
			}
			slot := f.arena[f.used : f.used+size]
			r.seal(slot, packet)
			f.used += size
			f.counts.datagrams.Add(1)
			switch {
			case f.mode == "sendto":
				f.sendTo(&r.address, slot)
				f.used = 0
			case f.mode == "gso" && train > 0 && train < longestTrain && size <= trainSize:
				f.extend(size, trainSize)
				train++
				if size < trainSize {
					train = 0 // A shorter segment must be the last one.
				}
			default:
				f.queue(&r.address, slot)
				train, trainSize = 1, size
			}
		}
	}
	f.flush()
}

// seal makes a packet as AEAD_AES_128_GCM does (RFC 7714): the header in the
// clear but authenticated, the rest sealed in place.
func (r *floorReceiver) seal(slot, packet []byte) {
	copy(slot, packet)
	binary.BigEndian.PutUint32(slot[8:], r.ssrc)
	copy(r.nonce[10:], packet[2:4])
	r.aead.Seal(slot[headerBytes:headerBytes], r.nonce[:], slot[headerBytes:len(packet)], slot[:headerBytes])
}

// openFloorPacket opens in place what seal has sealed, and returns the packet's
// length.
func openFloorPacket(aead cipher.AEAD, packet []byte) (int, error) {
	var nonce [12]byte
	copy(nonce[10:], packet[2:4])
	payload, err := aead.Open(packet[headerBytes:headerBytes], nonce[:], packet[headerBytes:], packet[:headerBytes])
	if err != nil {
		return 0, fmt.Errorf("open a packet of the floor: %w", err)
	}

	return headerBytes + len(payload), nil
}

func (f *floorServer) queue(address *unix.RawSockaddrInet4, slot []byte) {
	i := f.queued
	f.vectors[i].Base = &slot[0]
	f.vectors[i].SetLen(len(slot))
	f.messages[i] = message{}
	header := &f.messages[i].header
	header.Iov = &f.vectors[i]
	header.SetIovlen(1)
	header.Name = (*byte)(unsafe.Pointer(address))
	header.Namelen = unix.SizeofSockaddrInet4
	f.queued++
}

// extend adds the slot just filled to the train queued last.
func (f *floorServer) extend(size, segment int) {
	i := f.queued - 1
	f.vectors[i].SetLen(int(f.vectors[i].Len) + size) //nolint:gosec // At most 32 packets.
	control := &f.controls[i]
	header := (*unix.Cmsghdr)(unsafe.Pointer(control))
	header.Level, header.Type = unix.IPPROTO_UDP, udpSegment
	header.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(control[unix.CmsgLen(0):], uint16(segment)) //nolint:gosec // A packet's size.
	f.messages[i].header.Control = &control[0]
	f.messages[i].header.SetControllen(controlLength)
}

// flush hands over what is queued. What the kernel refuses is skipped: it shows
// up as loss.
func (f *floorServer) flush() {
	f.counts.messages.Add(uint64(f.queued)) //nolint:gosec // At most messageSlots.
	for done := 0; done < f.queued; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(f.socket), uintptr(unsafe.Pointer(&f.messages[done])),
			uintptr(f.queued-done), 0, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			done++
		default:
			done += int(n) //nolint:gosec // At most messageSlots.
			f.counts.calls.Add(1)
		}
	}
	f.queued, f.used = 0, 0
}

func (f *floorServer) sendTo(address *unix.RawSockaddrInet4, slot []byte) {
	_, _, _ = unix.Syscall6(unix.SYS_SENDTO, uintptr(f.socket), uintptr(unsafe.Pointer(&slot[0])), uintptr(len(slot)), 0,
		uintptr(unsafe.Pointer(address)), unix.SizeofSockaddrInet4)
}
