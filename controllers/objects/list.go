package objects

import (
	"context"
	stdjson "encoding/json"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A page of pageSize is about 2 MiB. Each page costs the API server a walk over the
// whole collection, so that of a large one larger pages are asked for: as many as
// make pagesAtMost of them, within a bound for the memory of both sides.
const (
	pageSize, largestPage = 1000, 4000
	pagesAtMost           = 16
)

// page is one answer to a list. Its objects are left as they came: a list that
// decodes as a whole is lost as a whole to one object that does not.
type page struct {
	Metadata struct {
		ResourceVersion    string `json:"resourceVersion"`
		Continue           string `json:"continue"`
		RemainingItemCount int    `json:"remainingItemCount"`
	} `json:"metadata"`
	Items []stdjson.RawMessage `json:"items"`
}

func (c *connection) page(ctx context.Context, limit int, parameters map[string]string) (*page, error) {
	if limit > 0 {
		parameters["limit"] = strconv.Itoa(limit)
	}
	body, err := c.read(ctx, parameters)
	if err != nil {
		return nil, err
	}
	answer := new(page)
	if err := stdjson.Unmarshal(body, answer); err != nil {
		return nil, fmt.Errorf("read a list: %w", err)
	}

	return answer, nil
}

// list reads the collection as etcd has it now: the resource version is left unset,
// since a server whose etcd was restored refuses those of before, or, once it has
// passed them, takes them for its own. All pages are of one version.
//
// Objects equal to known ones are the known ones.
func (c *connection) list(ctx context.Context, known state) (state, uint64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := newState()
	// While one page is decoded the next is on its way.
	limit := pageSize
	next := c.fetch(ctx, limit, "")
	for {
		fetched := <-next
		if fetched.err != nil {
			return state{}, 0, fetched.err
		}
		m := fetched.page.Metadata
		if m.Continue != "" {
			limit = max(limit, min(m.RemainingItemCount/pagesAtMost, largestPage))
			next = c.fetch(ctx, limit, m.Continue)
		}
		for _, raw := range fetched.page.Items {
			i, err := known.read(raw)
			if err != nil {
				cancel()
				if m.Continue != "" {
					<-next
				}

				return state{}, 0, fmt.Errorf("read a list: %w", err)
			}
			all.put(i)
		}
		if m.Continue != "" {
			continue
		}
		version, err := parseVersion(m.ResourceVersion)
		if err != nil {
			return state{}, 0, fmt.Errorf("read a list: %w", err)
		}

		return all, version, nil
	}
}

// cached tells whether the API server answers from its cache. While it fills that
// after its own start, it refuses unlimited requests, and takes pages from etcd ten
// times more slowly.
func (c *connection) cached(ctx context.Context) bool {
	_, err := c.page(ctx, 0, map[string]string{"fieldSelector": oneName})

	return !apierrors.IsTooManyRequests(err)
}

// oneName selects one name, which need not exist: such a list has the collection's
// version, and the API server walks over nothing for it.
const oneName = "metadata.name=none"

type fetched struct {
	page *page
	err  error
}

// fetch asks for a page; the answer must be taken.
func (c *connection) fetch(ctx context.Context, limit int, from string) <-chan fetched {
	answer := make(chan fetched, 1)
	go func() {
		parameters := map[string]string{}
		if from != "" {
			parameters["continue"] = from
		}
		p, err := c.page(ctx, limit, parameters)
		answer <- fetched{p, err}
	}()

	return answer
}
