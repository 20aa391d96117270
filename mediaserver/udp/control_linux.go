package udp

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controls is room for the control messages of one message: the size of a train's datagrams, and an address of ours. It
// is in words because the kernel aligns each message in it to one.
type controls [8]uint64

// wordBytes is the size of a word of controls.
const wordBytes = 8

// segmentSpace is what the size of a train's datagrams takes of controls on its way to the kernel.
var segmentSpace = unix.CmsgSpace(2)

func (c *controls) header(offset int) *unix.Cmsghdr {
	return (*unix.Cmsghdr)(unsafe.Add(unsafe.Pointer(c), offset))
}

func (c *controls) data(offset int) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(c), offset+unix.CmsgLen(0))
}

// prepareSegment makes the first control message the one by which the kernel is told to make datagrams of a train.
func (c *controls) prepareSegment() {
	header := c.header(0)
	header.Level, header.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	header.SetLen(unix.CmsgLen(2))
}

func (c *controls) setSegment(size int) { *(*uint16)(c.data(0)) = uint16(size) }

// setSource makes the first control message the one by which the kernel is told an address of ours to send from, and
// returns its length. A socket of IPv6 is told IPv4 addresses mapped to IPv6. The interface is left open: the route
// to the peer decides it, or the peer's zone.
func (c *controls) setSource(local netip.Addr, ipv4 bool) (length int) {
	header := c.header(0)
	if ipv4 && local.Is4() {
		header.Level, header.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		header.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		(*unix.Inet4Pktinfo)(c.data(0)).Spec_dst = local.As4()

		return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
	}
	header.Level, header.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	header.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	(*unix.Inet6Pktinfo)(c.data(0)).Addr = local.As16()

	return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
}

// read is what the kernel says of a message received: the size of the datagrams that it has coalesced, 0 for one
// datagram alone, and the address of ours that they arrived at, if the socket has many.
func (c *controls) read(length int) (segment int, local netip.Addr) {
	length = min(length, int(unsafe.Sizeof(*c)))
	for offset := 0; offset+unix.CmsgLen(0) <= length; {
		header := c.header(offset)
		data := int(header.Len) - unix.CmsgLen(0)
		if data < 0 || data > length-offset-unix.CmsgLen(0) {
			break
		}
		switch {
		case header.Level == unix.SOL_UDP && header.Type == unix.UDP_GRO && data >= 4:
			segment = int(*(*int32)(c.data(offset)))
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && data >= unix.SizeofInet4Pktinfo:
			// Not its Addr, which a broadcast has too.
			local = netip.AddrFrom4((*unix.Inet4Pktinfo)(c.data(offset)).Spec_dst)
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && data >= unix.SizeofInet6Pktinfo:
			local = netip.AddrFrom16((*unix.Inet6Pktinfo)(c.data(offset)).Addr).Unmap()
		}
		offset += unix.CmsgSpace(data)
	}

	return segment, local
}
