package sora

import "strings"

// serviceName is the only service prefix that is served.
const serviceName = "Sora"

// target is what the x-sora-target header names.
type target struct {
	Service, Version, Operation string
}

// parseTarget reads letters, "_", 8 digits, one separator, letters. The
// separator may be any single byte but a newline, because the dot of Sora's own
// pattern is not escaped. ok is false when the value has another shape.
func parseTarget(header string) (t target, ok bool) {
	service, rest, found := strings.Cut(header, "_")
	if !found || len(rest) < 10 {
		return target{}, false
	}
	version, separator, operation := rest[:8], rest[8], rest[9:]
	if !isLetters(service) || !isDigits(version) || separator == '\n' || !isLetters(operation) {
		return target{}, false
	}

	return target{Service: service, Version: version, Operation: operation}, true
}

// String is the documented spelling, whichever separator was sent.
func (t target) String() string { return t.Service + "_" + t.Version + "." + t.Operation }

func isLetters(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}) < 0
}

func isDigits(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c < '0' || c > '9' }) < 0
}
