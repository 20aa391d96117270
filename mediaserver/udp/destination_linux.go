package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawDestination is a path in the kernel's form.
type rawDestination struct {
	name   unix.RawSockaddrInet6 // Or, in its first bytes, a RawSockaddrInet4.
	length uint32

	source       controls // The address of ours to send from.
	sourceLength int      // In bytes; 0 leaves the choice to the kernel.

	refusals refusals
}

// set makes the addresses ones that a socket of this family takes: one of IPv6 takes IPv4 addresses only mapped to
// IPv6.
func (r *rawDestination) set(path Path, ipv4 bool) {
	if path.Local.IsValid() {
		r.sourceLength = r.source.setSource(path.Local, ipv4)
	}
	address := path.Remote
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], address.Port())
	if ipv4 && address.Addr().Is4() {
		name := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.name))
		name.Family = unix.AF_INET
		name.Port = binary.NativeEndian.Uint16(port[:])
		name.Addr = address.Addr().As4()
		r.length = unix.SizeofSockaddrInet4

		return
	}
	r.name.Family = unix.AF_INET6
	r.name.Port = binary.NativeEndian.Uint16(port[:])
	r.name.Addr = address.Addr().As16()
	r.name.Scope_id = scope(address.Addr().Zone())
	r.length = unix.SizeofSockaddrInet6
}

// control is what Go's sockets are to be told of the address of ours.
func (r *rawDestination) control() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&r.source)), r.sourceLength)
}

// scope is the number of the interface of a link-local address.
func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if index, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(index)
	}
	link, err := net.InterfaceByName(zone)
	if err != nil {
		return 0
	}

	return uint32(link.Index)
}

// source is the address in the kernel's form read, unmapped.
func source(name *unix.RawSockaddrInet6) netip.AddrPort {
	var port [2]byte
	binary.NativeEndian.PutUint16(port[:], name.Port)
	number := binary.BigEndian.Uint16(port[:])
	if name.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr), number)
	}
	address := netip.AddrFrom16(name.Addr).Unmap()
	if name.Scope_id != 0 {
		address = address.WithZone(strconv.FormatUint(uint64(name.Scope_id), 10))
	}

	return netip.AddrPortFrom(address, number)
}
