package browser

import (
	"context"
	"fmt"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"
)

// pageTab is a tab in which the embedded page has joined a channel.
type pageTab struct {
	tab          context.Context
	connectionID string
}

// tile is what the page shows of one sender.
type tile struct {
	FramesPerSecond int
	Paused          bool
}

// tile reads the sender's tile, as a person would.
func (p pageTab) tile(t *testing.T, sender pageTab) tile {
	t.Helper()
	var shown tile
	expression := fmt.Sprintf(`(({ fps, paused }) => ({ FramesPerSecond: Number(fps), Paused: paused === "true" }))(
		document.querySelector('.tile[data-connection-id="%s"]')?.dataset ?? {})`, sender.connectionID)
	if err := evaluate(t, p.tab, expression, &shown); err != nil {
		t.Fatal(err)
	}

	return shown
}

// moves tells whether the sender's picture moves, or stands still under its
// overlay.
func (p pageTab) moves(t *testing.T, sender pageTab) func() error {
	return func() error {
		if shown := p.tile(t, sender); shown.FramesPerSecond == 0 || shown.Paused {
			return fmt.Errorf("%s shows of %s %+v", p.connectionID, sender.connectionID, shown)
		}

		return nil
	}
}

func (p pageTab) standsStill(t *testing.T, sender pageTab) func() error {
	return func() error {
		if shown := p.tile(t, sender); shown.FramesPerSecond != 0 || !shown.Paused {
			return fmt.Errorf("%s shows of %s %+v", p.connectionID, sender.connectionID, shown)
		}

		return nil
	}
}

func (p pageTab) click(t *testing.T, selector string) {
	t.Helper()
	if _, err := chromedp.Run(p.tab, chromedp.Click(selector)); err != nil {
		t.Fatalf("clicking %s: %v", selector, err)
	}
}

// TestPagePausesByClick pauses on the page's own tile, and then somebody else's
// edge in the page's table, on another media server's page; both go through the HTTP
// API from another origin, and each page has one of its own.
func TestPagePausesByClick(t *testing.T) {
	openTab := newBrowser(t)
	var tabs []pageTab
	for _, clientID := range []string{"alice", "bob", "carol"} {
		query := url.Values{"channel": {"browser-page"}, "client": {clientID}, "autojoin": {"1"}, "source": {"picture"}}
		page := pageURL
		if clientID == "bob" {
			page = secondPageURL
		}
		p := pageTab{tab: openTab(page + "?" + query.Encode())}
		eventually(t, clientID+" has joined", func() error {
			if err := evaluate(t, p.tab, "document.body.dataset.connectionId ?? ''", &p.connectionID); err != nil {
				return err
			}
			if p.connectionID == "" {
				return fmt.Errorf("not joined")
			}

			return nil
		})
		tabs = append(tabs, p)
	}
	alice, bob, carol := tabs[0], tabs[1], tabs[2]
	for _, receiver := range tabs {
		for _, sender := range tabs {
			if sender.connectionID != receiver.connectionID {
				eventually(t, "everybody sees everybody", receiver.moves(t, sender))
			}
		}
	}

	bobsTile := fmt.Sprintf(`.tile[data-connection-id="%s"]`, bob.connectionID)
	alice.click(t, bobsTile+" [data-action=pause]")
	eventually(t, "bob stands still at alice's", alice.standsStill(t, bob))
	eventually(t, "carol moves on at alice's", alice.moves(t, carol))
	eventually(t, "bob moves on at carol's", carol.moves(t, bob))
	alice.click(t, bobsTile+" [data-action=resume]")
	eventually(t, "bob moves again at alice's", alice.moves(t, bob))

	cell := fmt.Sprintf(`#matrix button[data-recv-connection-id="%s"][data-send-connection-id="%s"]`, carol.connectionID,
		bob.connectionID)
	bob.click(t, cell+"[data-action=pause]")
	eventually(t, "bob stands still at carol's", carol.standsStill(t, bob))
	eventually(t, "bob moves on at alice's", alice.moves(t, bob))
	bob.click(t, cell+"[data-action=resume]")
	eventually(t, "bob moves again at carol's", carol.moves(t, bob))

	expectNoError(t, alice)
	expectNoError(t, bob)
}

// TestPageSaysWhichCodecItMisses: the picture that never comes has a reason in its place.
func TestPageSaysWhichCodecItMisses(t *testing.T) {
	const channelID = "browser-page-codec"
	sender := newSDKWith(t)(channelID, "bob", "sendonly", `{videoCodecType: "AV1"}`)
	query := url.Values{"channel": {channelID}, "client": {"alice"}, "source": {"none"}}
	alice := pageTab{tab: newBrowser(t)(pageURL + "?" + query.Encode())}
	if err := evaluate(t, alice.tab, forget("AV1"), new(any)); err != nil {
		t.Fatal(err)
	}
	alice.click(t, "#join")
	eventually(t, "the tile says why it is empty", func() error {
		var shown string
		expression := fmt.Sprintf(`document.querySelector('.tile[data-connection-id="%s"] `+
			`.overlay:not([hidden])')?.textContent ?? ""`,
			sender.connectionID)
		if err := evaluate(t, alice.tab, expression, &shown); err != nil {
			return err
		}
		if shown != "this browser cannot decode AV1" {
			return fmt.Errorf("it says %q", shown)
		}

		return nil
	})
	expectNoError(t, alice)
}

func expectNoError(t *testing.T, p pageTab) {
	t.Helper()
	var shown string
	if err := evaluate(t, p.tab, `document.querySelector("#error").textContent`, &shown); err != nil {
		t.Fatal(err)
	}
	if shown != "" {
		t.Errorf("the page shows the error %q", shown)
	}
}
