package knowledge

import "fmt"

const (
	// assemblies bounds the messages in parts, of one kind, that a stream may have
	// begun and not finished.
	assemblies = 4
	// entryBytes is about what an entry of a message takes in memory beside what it
	// has on the wire.
	entryBytes = 256
)

// keep counts what one more part of a message takes. It is not to be kept, nor
// anything before it, where the messages of the stream that are not finished then
// took more than the bound: one that never ends costs no more than that.
func (s *Session) keep(bytes *int, over *bool, more int) bool {
	if *over = *over || s.partBytes+more > s.tenant.config.Limits.PartBytes; *over {
		s.partBytes -= *bytes
		*bytes = 0

		return false
	}
	s.partBytes += more
	*bytes += more

	return true
}

// tooManyBytes says so of a message that was not kept.
func (s *Session) tooManyBytes(what, channelID string) string {
	return fmt.Sprintf("the %s of media server %q that are not finished take more than %d bytes, which is the bound: "+
		"nothing of channel %q is taken; send the parts of one after each other, and name less in it",
		what, s.server.name, s.tenant.config.Limits.PartBytes, channelID)
}
