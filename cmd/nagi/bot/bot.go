// Package bot is a synthetic client: it joins a channel over Sora's signalling
// protocol, publishes a real clip, and counts what it receives by RTP facts
// alone, without decoding.
package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Role is what a bot does in its channel, in the protocol's spelling.
type Role string

// The roles of the signalling protocol.
const (
	SendRecv Role = "sendrecv"
	SendOnly Role = "sendonly"
	RecvOnly Role = "recvonly"
)

func (r Role) sends() bool { return r == SendRecv || r == SendOnly }

// Config is what a bot is told.
type Config struct {
	// URL is the signalling endpoint, such as ws://127.0.0.1:5000/signaling.
	URL string
	// ChannelID is the channel to join.
	ChannelID string
	// ClientID is the bot's client id. Empty: the server gives it one.
	ClientID string
	// BundleID is the bot's bundle id. Empty: the server gives it one.
	BundleID string
	// Metadata is what the bot offers for its authentication: any JSON, nil: nothing.
	Metadata any
	// Role is what the bot does; empty means SendRecv.
	Role Role
	// Simulcast: what the bot publishes it publishes in three sizes, as r0, r1 and r2.
	Simulcast bool
	// Video is published in place of the embedded clip: an IVF file of VP8 that begins with a
	// keyframe, or, with Simulcast, three of as many frames, the smallest picture first.
	Video [][]byte
	// RID is the size that the bot wants of what others publish: r0, r1, r2 or none.
	// Empty: the server chooses.
	RID string
	// Spotlight: the channel is, or is to be, one in which those who speak are in focus.
	Spotlight *Spotlight
	// Observer is called with each RTP packet that arrives, from one goroutine
	// per stream and in the order of arrival. May be nil.
	Observer func(Packet)
	// Log gets what happens to the bot. Nil: nothing is logged.
	Log *slog.Logger
}

// Spotlight is what a bot wants of a spotlight channel. What is zero is the server's choice.
type Spotlight struct {
	// Number is how many are in focus, as far as the bot is the channel's first client.
	Number int
	// FocusRID and UnfocusRID are the sizes that it wants of those who are in focus and of
	// the others: none, r0, r1 or r2.
	FocusRID, UnfocusRID string
}

// ErrClosed is the cause of a bot's end when its owner ended it.
var ErrClosed = errors.New("the bot was ended by its owner")

// Bot is one client that has joined a channel. Its methods may be called from
// any goroutine. Whoever joins must call Leave or Drop in the end.
type Bot struct {
	config Config
	log    *slog.Logger

	socket    *websocket.Conn
	peer      *peer
	publisher *publisher
	streams   *streams
	notices   *notices

	// ctx ends with the bot; its cause tells why.
	ctx   context.Context
	end   context.CancelCauseFunc
	close sync.Once

	mu      sync.Mutex
	closing bool
	tasks   sync.WaitGroup

	connectionID string // Set before Join returns, constant from then on.
	clientID     string
}

// Join connects, joins the channel and returns once the server has said that the
// bot's connection is created, which it does when media can flow. ctx bounds the
// joining alone.
func Join(ctx context.Context, config Config) (*Bot, error) {
	if config.Role == "" {
		config.Role = SendRecv
	}
	log := config.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}

	socket, err := dial(ctx, config.URL)
	if err != nil {
		return nil, err
	}
	b := &Bot{
		config: config, log: log, socket: socket,
		streams: newStreams(config.Observer), notices: newNotices(),
	}
	b.ctx, b.end = context.WithCancelCause(context.WithoutCancel(ctx))
	if err := b.start(ctx); err != nil {
		b.end(err)
		b.closeAll()

		return nil, fmt.Errorf("join channel %q at %s: %w", config.ChannelID, config.URL, err)
	}

	return b, nil
}

// dial opens a WebSocket. When ctx ends first, nothing of it goes on: http's own transport would go on connecting, for
// whoever wants the same address next.
func dial(ctx context.Context, url string) (*websocket.Conn, error) {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	defer transport.CloseIdleConnections()
	options := &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}
	socket, response, err := websocket.Dial(ctx, url, options)
	if err != nil {
		return nil, fmt.Errorf("open a WebSocket to %s: %w; is the media server running there?", url, err)
	}
	if response != nil && response.Body != nil {
		// Already consumed: the connection now belongs to the WebSocket.
		_ = response.Body.Close()
	}
	socket.SetReadLimit(maxMessageBytes)

	return socket, nil
}

// connect says connect, here and where it is redirected, and takes the first message of the
// media server that takes it in.
func (b *Bot) connect(ctx context.Context) error {
	message := newConnectMessage(b.config)
	for {
		if err := b.send(ctx, message); err != nil {
			return err
		}
		_, data, err := b.socket.Read(ctx)
		if err != nil {
			return b.causeOfEnd(err)
		}
		location := redirection(data)
		if location == "" || message.Redirect {
			return b.handle(data)
		}
		_ = b.socket.CloseNow()
		message.Redirect = true
		if b.socket, err = dial(ctx, location); err != nil {
			return err
		}
	}
}

// start makes the peer connection, reads the socket from then on, and waits
// until the bot is connected.
func (b *Bot) start(ctx context.Context) error {
	var err error
	if b.peer, err = newPeer(b); err != nil {
		return err
	}
	if b.config.Role.sends() {
		if b.publisher, err = newPublisher(b.peer); err != nil {
			return err
		}
	}
	if err := b.connect(ctx); err != nil {
		return err
	}
	b.run(b.readMessages)

	created := func(n Notification) bool {
		return n.EventType == EventConnectionCreated && n.ConnectionID != "" && n.ConnectionID == b.peer.connectionID()
	}
	if _, err := b.WaitNotification(ctx, created); err != nil {
		return fmt.Errorf("wait for notify %s: %w", EventConnectionCreated, err)
	}
	b.connectionID, b.clientID = b.peer.connectionID(), b.peer.clientID()

	return nil
}

// ConnectionID is the id that the server gave this connection.
func (b *Bot) ConnectionID() string { return b.connectionID }

// ClientID is the bot's client id as the server knows it.
func (b *Bot) ClientID() string { return b.clientID }

// Streams returns what has arrived so far, ordered by sender and kind: one entry
// per stream that was negotiated, whether or not a packet of it ever came.
func (b *Bot) Streams() []Stream {
	streams := b.streams.snapshot()
	for i := range streams {
		sender := streams[i].SenderConnectionID
		streams[i].Paused = b.notices.paused(b.connectionID, sender, streams[i].Kind)
		streams[i].Gone = b.notices.gone(sender)
	}

	return streams
}

// Stream returns the stream of one kind from one sender; false until it has been
// negotiated.
func (b *Bot) Stream(senderConnectionID string, kind Kind) (Stream, bool) {
	for _, stream := range b.Streams() {
		if stream.SenderConnectionID == senderConnectionID && stream.Kind == kind {
			return stream, true
		}
	}

	return Stream{}, false
}

// Published returns what the bot has sent so far.
func (b *Bot) Published() Published {
	if b.publisher == nil {
		return Published{}
	}

	return b.publisher.published()
}

// SetAudioLevel has the bot say that its audio is so many dB below overload (RFC 6464), if
// the server asks for it; 127 is silence, as from the beginning.
func (b *Bot) SetAudioLevel(level uint8) {
	if b.publisher != nil {
		b.publisher.loudness.Store(127 - uint32(min(level, 127)))
	}
}

// RequestKeyframe sends a PLI for the video of one sender, as a decoder that
// lost its reference does.
func (b *Bot) RequestKeyframe(senderConnectionID string) error {
	stream, ok := b.Stream(senderConnectionID, Video)
	if !ok {
		return fmt.Errorf("request a keyframe from %s: no video of it has been negotiated", senderConnectionID)
	}

	return b.peer.requestKeyframe(stream.SSRC)
}

// Done is closed when the bot has ended, for whatever reason.
func (b *Bot) Done() <-chan struct{} { return b.ctx.Done() }

// Err is nil while the bot lives, then tells why it ended: ErrClosed after Leave
// or Drop.
func (b *Bot) Err() error { return context.Cause(b.ctx) }

// Leave says goodbye, waits until the server has closed the WebSocket or ctx
// ends, then ends everything that belongs to the bot and waits for it. Calling
// it again, or after Drop, does no harm.
func (b *Bot) Leave(ctx context.Context) error {
	err := b.sayGoodbye(ctx)
	b.end(ErrClosed)
	b.closeAll()
	if err != nil {
		return fmt.Errorf("leave channel %q: %w", b.config.ChannelID, err)
	}

	return nil
}

func (b *Bot) sayGoodbye(ctx context.Context) error {
	if b.ctx.Err() != nil {
		return nil
	}
	b.notices.expectEnd()
	err := b.send(ctx, disconnectMessage{Type: "disconnect", Reason: "NO-ERROR"})
	switch {
	case b.ctx.Err() != nil:
		return nil // It has ended meanwhile, as by Drop.
	case err != nil:
		return err
	}
	select {
	case <-b.ctx.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the server to close the WebSocket: %w", context.Cause(ctx))
	}
}

// Drop ends the bot without a word to the server's signalling, as a client does
// whose network has gone, and waits for everything that belongs to it.
func (b *Bot) Drop() {
	b.end(ErrClosed)
	b.closeAll()
}

// run runs f on a goroutine that closeAll waits for; not at all once closeAll has
// begun (pion's callbacks may come late).
func (b *Bot) run(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closing {
		b.tasks.Go(f)
	}
}

// closeAll closes what the bot holds, once, and returns when nothing of it runs.
func (b *Bot) closeAll() {
	b.close.Do(func() {
		b.mu.Lock()
		b.closing = true
		b.mu.Unlock()
		// An end that was not announced: errors tell only that it is closed already.
		_ = b.socket.CloseNow()
		if b.peer != nil {
			b.peer.close(b.log)
		}
		b.tasks.Wait()
		b.streams.wait()
	})
}

// writeTimeout bounds one message's way into the socket.
const writeTimeout = 10 * time.Second
