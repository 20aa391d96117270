package rtc

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/pion/sdp/v3"
)

// A channel's descriptions are long, and each newcomer changes two m-lines of them. So an m-line's text is made when
// what it says has changed, and what a client answers is read when it is not what it has answered to the same text
// before.

// section is an m-line as descriptions have it.
type section struct {
	text string // in the last offer, from "m=" on
	// answered is the hash of what the client answered to that, 0: nothing yet, and read what it says.
	answered uint64
	read     answeredMedia
}

// offer notes the text of the next offer.
func (s *section) offer(description *sdp.MediaDescription) error {
	text, err := (&sdp.SessionDescription{MediaDescriptions: []*sdp.MediaDescription{description}}).Marshal()
	if err != nil {
		return err
	}
	_, media, _ := strings.Cut(string(text), "\nm=")
	s.text, s.answered = "m="+media, 0

	return nil
}

// answerSeed keeps clients from finding texts whose hashes are the same.
var answerSeed = maphash.MakeSeed()

func answerHash(text string) uint64 { return maphash.String(answerSeed, text) | 1 }

// sections are those of the last offer, in its order: lines that were made since then stand behind them.
func (p *Peer) sections() []*section {
	sections := make([]*section, 0, 2+len(p.lines))
	for _, u := range p.uplinks() {
		sections = append(sections, &u.section)
	}
	for _, l := range p.lines {
		sections = append(sections, &l.section)
	}

	return sections
}

// minimalSession is what stands in front of m-lines that are looked at by themselves.
const minimalSession = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"

// readAnswer tells what of an answer does not fit the offer, before any of it is applied (RFC 3264 section 6, RFC 8829
// section 5.8), and what it says. Candidates are of no interest: a lite agent learns of paths by the client's checks.
// Nor is the transport after the first answer, for it is the whole session's.
func (p *Peer) readAnswer(text string) (answer, error) {
	head, answered := splitSections(text)
	sections := p.sections()[:p.offeredSections]
	if len(sections) != len(answered) {
		return answer{}, fmt.Errorf("%d m-lines answered, %d offered", len(answered), len(sections))
	}
	fresh := sections
	if !directs(head) {
		fresh, answered = unread(sections, answered)
	}
	description, offer := &sdp.SessionDescription{}, &sdp.SessionDescription{}
	if err := description.UnmarshalString(head + strings.Join(answered, "")); err != nil {
		return answer{}, err
	}
	if err := offer.UnmarshalString(joinSections(minimalSession, fresh)); err != nil {
		return answer{}, err
	}
	if len(description.MediaDescriptions) != len(fresh) {
		return answer{}, errors.New("an m-line does not stand at the beginning of a line")
	}
	for i, s := range fresh {
		media := description.MediaDescriptions[i]
		if err := checkMedia(offer.MediaDescriptions[i], media); err != nil {
			return answer{}, fmt.Errorf("m-line %d: %w", slices.Index(sections, s), err)
		}
		s.answered, s.read = answerHash(answered[i]), readMedia(description, offer.MediaDescriptions[i], media)
	}
	a := answer{media: make([]answeredMedia, len(sections))}
	for i, s := range sections {
		a.media[i] = s.read
		s.read.known = true
	}
	if p.answered {
		return a, nil
	}

	return a, a.readTransport(description)
}

// splitSections cuts a description in front of its m-lines.
func splitSections(text string) (head string, sections []string) {
	const start = "\nm="
	at := strings.Index(text, start)
	if at < 0 {
		return text, nil
	}
	head, text = text[:at+1], text[at+1:]
	for {
		at := strings.Index(text, start)
		if at < 0 {
			return head, append(sections, text)
		}
		sections, text = append(sections, text[:at+1]), text[at+1:]
	}
}

// directs tells whether a session has a direction for all m-lines that have none (RFC 8866 section 6.7). Browsers
// write none; with one, no m-line's text tells all.
func directs(head string) bool {
	return slices.ContainsFunc([]string{"a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"},
		func(direction string) bool {
			return strings.Contains(head, direction)
		})
}

// unread are the sections that are answered otherwise than before, and their answers.
func unread(sections []*section, answered []string) (fresh []*section, texts []string) {
	for i, s := range sections {
		if s.answered == 0 || s.answered != answerHash(answered[i]) {
			fresh, texts = append(fresh, s), append(texts, answered[i])
		}
	}

	return fresh, texts
}

// joinSections makes a description; head stands in front of them.
func joinSections(head string, sections []*section) string {
	size := len(head)
	for _, s := range sections {
		size += len(s.text)
	}
	var text strings.Builder
	text.Grow(size)
	text.WriteString(head)
	for _, s := range sections {
		text.WriteString(s.text)
	}

	return text.String()
}
