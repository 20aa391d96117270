package signaling

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coder/websocket"
)

// maxConnectSize is how long a message may be before the offer, in bytes: metadata have
// 16 KiB each, and the SDP that some SDKs send along some 10 KiB.
const maxConnectSize = 128 << 10

// read decodes frames until the socket or the connection ends. Its reads have no
// deadline of their own: ending one of them would cut the socket without a
// closing handshake. Closing the socket ends them.
func (c *connection) read() {
	// The limit is enforced here, to close with a reason in Sora's manner.
	c.socket.SetReadLimit(-1)
	for {
		message, err := c.readMessage()
		if err != nil {
			c.end(err)

			return
		}
		// Who goes is not kept until what was said before is done, such as asking an authority.
		// Who has been passed on is answered by the channel's owner.
		if gone, ok := message.message.(Disconnect); ok && !c.relaying.Load() {
			c.end(&CloseError{Code: CodeNormal, Reason: ReasonTypeDisconnect, Detail: gone.Reason})

			return
		}
		select {
		case c.incoming <- message:
		case <-c.ctx.Done():
			return
		}
	}
}

// received is a message, and the text that said it.
type received struct {
	message Message
	text    []byte
}

func (c *connection) readMessage() (received, error) {
	text, err := c.readText()
	if err != nil {
		return received{}, err
	}
	if c.expectsDecision {
		c.expectsDecision = false
		decided, err := decodeDecision(text, c.pass.Decision)

		return received{message: decided}, err
	}
	message, err := Decode(text)

	return received{message, text}, err
}

func (c *connection) readText() ([]byte, error) {
	kind, reader, err := c.socket.Reader(context.WithoutCancel(c.ctx))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDropped, err)
	}
	if kind != websocket.MessageText {
		return nil, refuse(ReasonBinaryMessage, "send JSON in text frames")
	}
	most := c.maxMessageSize()
	text, err := io.ReadAll(io.LimitReader(reader, most+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDropped, err)
	}
	if int64(len(text)) > most {
		return nil, refuse(ReasonMessageTooLarge, "the message is larger than %d bytes", most)
	}

	return text, nil
}

// maxMessageSize is that of the next message: an answer goes by its offer, and one who is not
// admitted yet has little to say.
func (c *connection) maxMessageSize() int64 {
	if offerSize := c.offerSize.Load(); offerSize > 0 {
		return c.config.MaxMessageSize + 4*offerSize
	}

	return min(c.config.MaxMessageSize, maxConnectSize)
}

// enqueue never blocks: callers hold a channel's lock.
func (c *connection) enqueue(text []byte) {
	if c.ctx.Err() == nil && !c.outbox.put(text) {
		c.end(refuse(ReasonSlowClient, "the client does not take its messages"))
	}
}

// write drains the queue until the connection ends, then sends what is left and
// closes the socket. When the network does not take a message in time, late ends
// the connection; the cause is set before the socket is cut, which the reader would
// call a dropped one. One timer serves all messages, and none has a context that
// can end: a whole channel is told of everybody who comes.
func (c *connection) write() {
	late := time.AfterFunc(c.config.WriteTimeout, func() {
		c.end(refuse(ReasonSlowClient, "the network did not take a message within %v", c.config.WriteTimeout))
		c.logClose(c.socket.CloseNow())
	})
	late.Stop()
	for {
		select {
		case <-c.outbox.ready:
			c.writeWaiting(late)
		case <-c.ctx.Done():
			c.closeSocket()

			return
		}
	}
}

func (c *connection) writeWaiting(late *time.Timer) {
	for c.ctx.Err() == nil {
		text, ok := c.outbox.take()
		if !ok {
			return
		}
		late.Reset(c.config.WriteTimeout)
		err := c.writeText(context.WithoutCancel(c.ctx), text)
		late.Stop()
		if err != nil {
			c.end(err)
		}
	}
}

// writeText cuts the socket when ctx ends before the network has taken the text.
func (c *connection) writeText(ctx context.Context, text []byte) error {
	if err := c.socket.Write(ctx, websocket.MessageText, text); err != nil {
		return fmt.Errorf("%w: %w", errDropped, err)
	}

	return nil
}

// closeSocket says good-bye if there is somebody to say it to.
func (c *connection) closeSocket() {
	var told *CloseError
	if !errors.As(context.Cause(c.ctx), &told) {
		c.logClose(c.socket.CloseNow())

		return
	}
	if told.Reason != ReasonSlowClient {
		c.flush()
	}
	c.logClose(c.socket.Close(websocket.StatusCode(told.Code), told.Reason))
}

// flush sends what was queued before the end, within one write's time in all.
func (c *connection) flush() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), c.config.WriteTimeout)
	defer cancel()
	for text, ok := c.outbox.take(); ok; text, ok = c.outbox.take() {
		if c.writeText(ctx, text) != nil {
			return // The socket is gone, and Close will notice.
		}
	}
}

func (c *connection) logClose(err error) {
	if err != nil {
		c.config.Log.Debug("closing a WebSocket", "error", err)
	}
}
