package udp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recorder notes the trains that a batch would pass to the kernel, as destination:sizes.
type recorder struct {
	names  map[*Destination]string
	trains []string
}

func (r *recorder) carry(_ []byte, trains []train) {
	for i := range trains {
		train := &trains[i]
		text := fmt.Sprintf("%s:%dx%d", r.names[train.destination], train.datagrams(), train.segment)
		if rest := train.end - train.begin - (train.datagrams()-1)*train.segment; rest != train.segment {
			text += fmt.Sprintf(",last %d", rest)
		}
		r.trains = append(r.trains, text)
	}
}

func TestTrains(t *testing.T) {
	a, b := &Destination{}, &Destination{}
	type datagrams struct {
		destination *Destination
		sizes       []int
	}
	tests := []struct {
		name string
		in   []datagrams
		want []string
	}{
		{"equal", []datagrams{{a, []int{9, 9, 9}}}, []string{"a:3x9"}},
		{"last smaller", []datagrams{{a, []int{9, 9, 8, 8, 8}}}, []string{"a:3x9,last 8", "a:2x8"}},
		{"larger", []datagrams{{a, []int{8, 9, 10}}}, []string{"a:1x8", "a:1x9", "a:1x10"}},
		{"smaller, then as before", []datagrams{{a, []int{9, 8, 9, 9}}}, []string{"a:2x9,last 8", "a:2x9"}},
		{"off by one", []datagrams{{a, []int{9, 8, 9, 8}}}, []string{"a:2x9,last 8", "a:2x9,last 8"}},
		{"smaller twice", []datagrams{{a, []int{9, 5, 5}}}, []string{"a:2x9,last 5", "a:1x5"}},
		{
			"two destinations",
			[]datagrams{{a, []int{9, 9}}, {b, []int{9, 9}}, {a, []int{9}}},
			[]string{"a:2x9", "b:2x9", "a:1x9"},
		},
		{
			"the longest train",
			[]datagrams{{a, slices.Repeat([]int{9}, maxSegments+1)}},
			[]string{fmt.Sprintf("a:%dx9", maxSegments), "a:1x9"},
		},
		{
			"the longest train, last smaller",
			[]datagrams{{a, append(slices.Repeat([]int{9}, maxSegments-1), 8, 8)}},
			[]string{fmt.Sprintf("a:%dx9,last 8", maxSegments), "a:1x8"},
		},
	}
	for _, test := range tests {
		recorder := &recorder{names: map[*Destination]string{a: "a", b: "b"}}
		batch := newBatch(0, recorder)
		for _, part := range test.in {
			for _, size := range part.sizes {
				if memory := batch.Append(part.destination, size); len(memory) != size || cap(memory) != size {
					t.Errorf("%s: %d bytes of %d, want %d", test.name, len(memory), cap(memory), size)
				}
			}
		}
		batch.Flush()
		batch.Flush()
		if diff := cmp.Diff(test.want, recorder.trains); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestBatchHandsOnInOrder(t *testing.T) {
	destinations := []*Destination{{}, {}, nil}
	var want, got []string
	batch := NewBatch(3, func(datagram []byte, destination *Destination) {
		got = append(got, fmt.Sprint(slices.Index(destinations, destination), string(datagram)))
	})
	if batch.Worker() != 3 {
		t.Errorf("worker %d", batch.Worker())
	}
	random := rand.New(rand.NewPCG(1, 2))
	for number := range 2000 {
		destination := random.IntN(len(destinations))
		payload := fmt.Sprint(number, strings.Repeat("x", random.IntN(3)))
		want = append(want, fmt.Sprint(destination, payload))
		batch.Room(1)
		copy(batch.Append(destinations[destination], len(payload)), payload)
	}
	batch.Flush()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	NewBatch(0, nil).Append(nil, 1)
}

func TestRoom(t *testing.T) {
	tests := []struct {
		size int
	}{
		{MaxDatagram}, // The arena is full.
		{1},           // The list of trains is.
	}
	for _, test := range tests {
		flushed := 0
		batch := NewBatch(0, func([]byte, *Destination) { flushed++ })
		appended := 0
		for batch.Append(&Destination{}, test.size) != nil {
			appended++
		}
		if appended < 2*MaxBurst || flushed != 0 {
			t.Errorf("size %d: %d datagrams fitted, %d were flushed", test.size, appended, flushed)
		}
		batch.Room(2 * MaxBurst)
		if flushed != appended {
			t.Errorf("size %d: Room flushed %d of %d", test.size, flushed, appended)
		}
		batch.Room(2 * MaxBurst)
		for range 2 * MaxBurst {
			if batch.Append(&Destination{}, MaxDatagram) == nil {
				t.Fatalf("size %d: no room after Room", test.size)
			}
		}
		if flushed != appended {
			t.Errorf("size %d: Room flushed an empty batch's room", test.size)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	batch := NewBatch(0, func([]byte, *Destination) { t.Error("something was appended") })
	for _, size := range []int{-1, 0, MaxDatagram + 1, arenaBytes + 1} {
		if batch.Append(nil, size) != nil {
			t.Errorf("size %d was accepted", size)
		}
	}
	batch.Flush()
}
