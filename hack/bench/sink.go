//go:build linux

package main

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	soMeminfo     = 55 // SO_MEMINFO of asm-generic/socket.h.
	meminfoDrops  = 8  // SK_MEMINFO_DROPS of linux/sock_diag.h.
	meminfoFields = 9
	udpHeader     = 8
)

// sinks are sockets whose clients do not look at media. Once told to drain, the
// kernel throws RTP away as it arrives, and counts it: receivers then cost the
// machine nothing, and the server may have all of it.
type sinks struct {
	mu       sync.Mutex
	sockets  []*receiveSocket
	draining bool
	before   uint64 // What the kernel had thrown away, for want of room, before.
}

func (s *sinks) add(socket *receiveSocket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets = append(s.sockets, socket)
}

// drain is called while nothing is sent.
func (s *sinks) drain() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, socket := range s.sockets {
		before, err := socket.dropped()
		if err != nil {
			return err
		}
		s.before += before
		if err := socket.dropRTP(); err != nil {
			return err
		}
	}
	s.draining = true

	return nil
}

// drained is how many packets the kernel has thrown away instead of us.
func (s *sinks) drained() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		return 0
	}
	var total uint64
	for _, socket := range s.sockets {
		dropped, err := socket.dropped()
		if err != nil {
			return 0 // The socket is closed: its client has ended, and the run with it.
		}
		total += dropped
	}

	return total - s.before
}

// dropRTP lets a filter do what isRTP does.
func (s *receiveSocket) dropRTP() error {
	const take, drop = 1 << 16, 0
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: udpHeader},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xc0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x80, Jf: 4}, // Not version 2: take.
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: udpHeader + 1},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: 192, Jf: 1},
		{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: 223, Jf: 1}, // RTCP: take.
		{Code: unix.BPF_RET | unix.BPF_K, K: drop},
		{Code: unix.BPF_RET | unix.BPF_K, K: take},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	var failed error
	err := s.raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("let the kernel drop RTP: %w", err)
	}

	return nil
}

func (s *receiveSocket) dropped() (uint64, error) {
	var fields [meminfoFields]uint32
	length := uint32(unsafe.Sizeof(fields))
	var errno unix.Errno
	err := s.raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, soMeminfo,
			uintptr(unsafe.Pointer(&fields[0])), uintptr(unsafe.Pointer(&length)), 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return 0, fmt.Errorf("ask the kernel what it dropped: %w", err)
	}

	return uint64(fields[meminfoDrops]), nil
}
