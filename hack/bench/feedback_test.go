//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/pion/rtcp"
)

// packetOf is the beginning of an RTP packet, which is all that reports go by.
func packetOf(ssrc uint32, number uint16) []byte {
	packet := make([]byte, headerBytes)
	packet[0], packet[1] = 0x80, 96
	binary.BigEndian.PutUint16(packet[2:], number)
	binary.BigEndian.PutUint32(packet[8:], ssrc)

	return packet
}

// Reports say what came since the one before, over a wrap, and the floor opens what its receivers seal.
func TestFeedback(t *testing.T) {
	r := &reception{}
	if r.feedback() != nil {
		t.Error("a report of nothing")
	}
	for _, number := range []uint16{65534, 65535, 1, 3} { // 0 and 2 are lost
		r.note(packetOf(7, number))
	}
	r.noteReport(&rtcp.SenderReport{SSRC: 7, NTPTime: 0x1122_3344_5566_7788})
	packets := r.feedback()
	block := packets[0].(*rtcp.ReceiverReport).Reports[0]
	if block.SSRC != 7 || block.LastSequenceNumber != 65536+3 || block.TotalLost != 2 || block.FractionLost != 2*256/6 ||
		block.LastSenderReport != 0x3344_5566 {
		t.Errorf("%+v", block)
	}
	for number := range uint16(4) {
		r.note(packetOf(7, 4+number))
	}
	if block := r.feedback()[0].(*rtcp.ReceiverReport).Reports[0]; block.TotalLost != 2 || block.FractionLost != 0 {
		t.Errorf("then %+v", block)
	}
	if got := packets[1].(*rtcp.ReceiverEstimatedMaximumBitrate); got.Bitrate != plenty || len(got.SSRCs) != 1 {
		t.Errorf("%+v", got)
	}

	aead, err := newFloorCipher()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := sealFloorFeedback(aead, packets, 5)
	if err != nil {
		t.Fatal(err)
	}
	if !isRTCP(sealed) || isRTP(sealed) {
		t.Error("it is taken for RTP")
	}
	plain, err := rtcp.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := openFloorFeedback(aead, bytes.Clone(sealed)); err != nil ||
		!bytes.Equal(opened, plain[rtcpHeaderBytes:]) {
		t.Errorf("opened as %x, %v", opened, err)
	}
	for i := range sealed {
		forged := bytes.Clone(sealed)
		forged[i] ^= 1
		if _, err := openFloorFeedback(aead, forged); err == nil {
			t.Errorf("opened with byte %d changed", i)
		}
	}
	if _, err := openFloorFeedback(aead, sealed[:10]); err == nil {
		t.Error("opened 10 bytes")
	}
}

// The floor's trains are as long as ours: packets a little smaller than a frame's largest are padded, the last is not.
func TestFloorEqualizes(t *testing.T) {
	packet := func(timestamp uint32, size int) []byte {
		p := make([]byte, slotBytes)[:size]
		p[0] = 0x80
		binary.BigEndian.PutUint32(p[4:], timestamp)
		for i := headerBytes; i < size; i++ {
			p[i] = 0xff
		}

		return p
	}
	burst := [][]byte{packet(1, 1000), packet(1, 1001), packet(1, 980), packet(1, 900), packet(2, 999), packet(2, 1000)}
	equalize(burst)
	for i, want := range []int{1001, 1001, 980, 900, 1000, 1000} {
		if got := len(burst[i]); got != want {
			t.Errorf("packet %d has %d bytes, want %d", i, got, want)
		}
	}
	if got := payloadOf(burst[0]); len(got) != 1000-headerBytes || got[len(got)-1] != 0xff {
		t.Errorf("its payload has %d bytes, want %d", len(got), 1000-headerBytes)
	}
}
