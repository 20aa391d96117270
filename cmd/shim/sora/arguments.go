package sora

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// decodeObject reads body as one JSON value (RFC 8259). object is nil when that
// value is no object. Text that could be read in two ways is an error: repeated
// keys, invalid UTF-8, lone surrogates. The errors are for the client.
func decodeObject(body []byte) (object map[string]json.RawMessage, err error) {
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(body, new(json.RawMessage)); {
	case bytes.HasPrefix(body, []byte("\xff\xfe")), bytes.HasPrefix(body, []byte("\xfe\xff")):
		return nil, errors.New("the body begins with the byte order mark of UTF-16: send UTF-8")
	case !utf8.Valid(body):
		return nil, errors.New("the body is not UTF-8")
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("%w, at byte %d", err, syntax.Offset)
	case err != nil:
		return nil, err
	case hasLoneSurrogate(body):
		return nil, errors.New("half a surrogate pair in a \\u escape: write the character itself, or both halves")
	}

	decoder := json.NewDecoder(bytes.NewReader(body))
	// Numbers may be larger than any float64.
	decoder.UseNumber()
	first, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	if first != json.Delim('{') {
		return nil, nil
	}
	object = map[string]json.RawMessage{}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string)
		if _, repeated := object[name]; repeated {
			return nil, fmt.Errorf("the key %.64q occurs twice", name)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		object[name] = value
	}

	return object, nil
}

// hasLoneSurrogate looks for \u escapes that are half a character. encoding/json
// would make U+FFFD of them, and two different ids would become one. body is
// valid JSON, so that a backslash only occurs in strings.
func hasLoneSurrogate(body []byte) bool {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++
		if body[i] != 'u' {
			continue
		}
		first := escapedUnit(body[i-1:])
		i += 4
		if !utf16.IsSurrogate(first) {
			continue
		}
		if utf16.DecodeRune(first, escapedUnit(body[i+1:])) == utf8.RuneError {
			return true
		}
		i += 6
	}

	return false
}

// escapedUnit reads the UTF-16 unit of an escape \uXXXX at the start of text, 0
// when there is none.
func escapedUnit(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return 0
	}

	return rune(unit)
}

// arguments are those of one request.
type arguments struct {
	// text has what the operation's schema names.
	text map[string]string
	// object has every property of the request.
	object map[string]json.RawMessage
	// caller is the name of who asks; empty where nobody had to say.
	caller string
}

// schema is the JSON schema of an operation's arguments: an object in which each
// of the named properties is a required string. They are all that the API has,
// so that a schema library would add more rules than it would save.
type schema struct {
	// required is in alphabetical order, in which Sora checks.
	required []string
	// instead has the properties that may take the place of required ones.
	instead map[string]string
}

// of is the schema for the properties that a request has: Sora's own, unless one
// that may take another's place is there.
func (s schema) of(object map[string]json.RawMessage) (schema, *failure) {
	chosen := schema{required: slices.Clone(s.required)}
	for i, name := range s.required {
		other := s.instead[name]
		if _, present := object[other]; !present || other == "" {
			continue
		}
		if _, present := object[name]; present {
			return schema{}, explained(http.StatusBadRequest, ambiguousIDs,
				name+" and "+other+" are both there, and each names this end of the stream: give one of them")
		}
		chosen.required[i] = other
	}

	return chosen, nil
}

// check returns the arguments, or the first violation in the order and the terms
// of jesse, the validator below Sora: present properties' types first, then
// absent properties, then the type of the whole.
func (s schema) check(body []byte, object map[string]json.RawMessage) (arguments, *failure) {
	if object == nil {
		return arguments{}, violation(s.json(), "wrong_type", json.RawMessage(body), []string{})
	}
	s, ambiguous := s.of(object)
	if ambiguous != nil {
		return arguments{}, ambiguous
	}
	texts := make(map[string]string, len(s.required))
	for _, name := range s.required {
		value, present := object[name]
		if !present {
			continue
		}
		// Looked at before decoding: null decodes into a string without an error.
		if value[0] != '"' {
			return arguments{}, violation(stringType(), "wrong_type", value, []string{name})
		}
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return arguments{}, violation(stringType(), "wrong_type", value, []string{name})
		}
		texts[name] = text
	}
	for _, name := range s.required {
		if _, present := texts[name]; !present {
			return arguments{}, violation(s.json(), "missing_required_property", name, []string{})
		}
	}

	return arguments{text: texts, object: object}, nil
}

// json is the schema as a document, which error messages quote.
func (s schema) json() map[string]any {
	properties := map[string]any{}
	for _, name := range s.required {
		properties[name] = stringType()
	}

	return map[string]any{"properties": properties, "required": s.required, "type": "object"}
}

func stringType() map[string]any { return map[string]any{"type": "string"} }

func violation(schema map[string]any, kind string, data any, path []string) *failure {
	return &failure{status: http.StatusBadRequest, name: invalidJSON, reason: []any{map[string]any{
		"invalid": "data", "schema": schema, "error": kind, "data": data, "path": path,
	}}}
}
