//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// joinPlain joins the floor: a sender sends RTP in the clear; a receiver makes
// itself known by a short datagram, which the floor answers, and opens what comes.
func joinPlain(ctx context.Context, p participant) error {
	address, err := netip.ParseAddrPort(p.Address)
	if err != nil {
		return fmt.Errorf("read the floor's address: %w", err)
	}
	socket, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(address))
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	p.profiles.know(floorProfile)
	if p.source != nil {
		buffer := make([]byte, 1500)
		p.source.write = func(packet *rtp.Packet) error {
			n, err := packet.MarshalTo(buffer)
			if err != nil {
				return fmt.Errorf("write a packet: %w", err)
			}
			_, err = socket.Write(buffer[:n])

			return err
		}

		return nil
	}
	arrived, heard := &arrivals{}, &reception{}
	timed, err := newReceiveSocket(socket, arrived, heard, nil)
	if err != nil {
		return err
	}
	if _, err := socket.Write([]byte("hello")); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	deadline, _ := ctx.Deadline()
	if err := socket.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if _, _, err := timed.ReadFromAddrPort(make([]byte, 16)); err != nil {
		return fmt.Errorf("wait for the floor to answer: %w", err)
	}
	if err := socket.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	aead, err := newFloorCipher()
	if err != nil {
		return err
	}
	index := uint32(0)
	if !p.Silent {
		go heard.send(&p.received.feedback, func(packets []rtcp.Packet) error {
			index++
			sealed, err := sealFloorFeedback(aead, packets, index)
			if err == nil {
				_, err = timed.Write(sealed)
			}

			return err
		})
	}
	go p.received.count(arrived, func(buffer []byte) (int, error) {
		n, _, err := timed.ReadFromAddrPort(buffer)
		if err != nil || n < headerBytes {
			return n, err
		}

		return openFloorPacket(aead, buffer[:n])
	})

	return nil
}
