package v1alpha1_test

import (
	"strings"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// drawSpec draws specs of which about half are valid, and the others by a little not.
func drawSpec(r *rapid.T) map[string]any {
	spec := map[string]any{
		"channelID": id().Draw(r, "channelID"),
		"receivers": side(r, "receivers"),
		"senders":   side(r, "senders"),
	}
	for _, optional := range []struct {
		field     string
		generator *rapid.Generator[any]
	}{
		{"kinds", kinds()},
		{"reason", rapid.Map(id(), anything[string])},
		{"expiresAt", rapid.Map(dateTime(), anything[string])},
		{"ttlSecondsAfterExpired", seconds()},
		{"deleteAfterDisconnectSeconds", seconds()},
	} {
		// Half of them, or a pause without a mistake would be rare.
		if rapid.Bool().Draw(r, "with "+optional.field) {
			spec[optional.field] = optional.generator.Draw(r, optional.field)
		}
	}

	return spec
}

func anything[T any](value T) any { return value }

func kinds() *rapid.Generator[any] {
	return often(
		rapid.SampledFrom([]any{[]any{"Video"}, []any{"Audio", "Video"}, nil}),
		rapid.SampledFrom([]any{[]any{}, []any{"video"}, []any{"Video", "Video"}, "Video", []any{nil}}),
	)
}

func seconds() *rapid.Generator[any] {
	return often(
		rapid.Map(rapid.Int64Range(0, 31536000), anything[int64]),
		rapid.SampledFrom([]any{int64(-1), int64(31536001), int64(1) << 62, 60.0, 1.5, 1e30, -1e30, "60", "1d", true, nil}),
	)
}

// side draws mostly sides with one member.
func side(r *rapid.T, label string) any {
	list := rapid.Map(rapid.SliceOfN(id(), 1, 3), func(list []string) any {
		values := make([]any, len(list))
		for i, value := range list {
			values[i] = value
		}

		return values
	})
	list = often(list, rapid.SampledFrom([]any{[]any{}, nil, "alice", []any{nil}, []any{int64(7)}}))
	members := map[string]*rapid.Generator[any]{
		"connectionIDs": list,
		"clientIDs":     list,
		"everyone":      often(rapid.Just[any](map[string]any{}), rapid.SampledFrom([]any{nil, true, []any{}})),
		"everyoneExcept": rapid.Custom(func(r *rapid.T) any {
			except := map[string]any{}
			for _, member := range []string{"connectionIDs", "clientIDs"} {
				if rapid.IntRange(0, 2).Draw(r, "excepts "+member) > 0 {
					except[member] = list.Draw(r, member)
				}
			}

			return except
		}),
	}
	names := []string{"connectionIDs", "clientIDs", "everyone", "everyoneExcept"}
	drawn := map[string]any{}
	for range often(rapid.Just(1), rapid.SampledFrom([]int{0, 2})).Draw(r, label+"' members") {
		name := rapid.SampledFrom(names).Draw(r, label+"' member")
		drawn[name] = members[name].Draw(r, label+"."+name)
	}

	return often(rapid.Just[any](drawn), rapid.SampledFrom([]any{nil, "everyone", []any{}})).Draw(r, label)
}

// id draws strings about the limit of 255 bytes, of one to four bytes a letter.
func id() *rapid.Generator[string] {
	limit := rapid.Custom(func(r *rapid.T) string {
		letter := rapid.Rune().Draw(r, "letter")
		letters := 255/utf8.RuneLen(letter) + rapid.IntRange(-1, 0).Draw(r, "more")

		return strings.Repeat(string(letter), letters)
	})
	beyond := rapid.Map(limit, func(s string) string { return s + s[:utf8.RuneLen([]rune(s)[0])] + "a" })

	return often(rapid.OneOf(rapid.StringN(1, 40, 255), limit), rapid.OneOf(rapid.Just(""), beyond))
}

// dateTime draws strings of which about a third are RFC 3339 date-times and the
// others fall short of it by a little.
func dateTime() *rapid.Generator[string] {
	return parts(
		often(rapid.StringMatching(`[2-8]\d{3}`),
			among("0000", "0001", "0004", "1582", "1969", "1970", "9999", "10000", "-001", "26")),
		among("-"),
		often(rapid.StringMatching(`0[1-9]|1[0-2]`), among("00", "13", "2", "02")),
		among("-"),
		often(rapid.StringMatching(`0[1-9]|1\d|2[0-8]`), among("00", "29", "30", "31", "32", "1")),
		often(among("T"), among("t", " ", "")),
		often(rapid.StringMatching(`[01]\d|2[0-3]`), among("24", "25", "7")),
		among(":"),
		often(rapid.StringMatching(`[0-5]\d`), among("60", "5")),
		among(":"),
		often(rapid.StringMatching(`[0-5]\d`), among("60", "61", "5")),
		often(among("", ".5", ".123456789"), among(".", ",5", ".1234567890", ".1.2")),
		often(among("Z", "+09:00", "-00:00", "+23:59", "-23:59"),
			among("z", "", "+24:00", "-12:60", "+0900", "+09", "Z\n", " Z", "UTC")),
	)
}

// often draws from usual nineteen times in twenty, else from odd.
func often[T any](usual, odd *rapid.Generator[T]) *rapid.Generator[T] {
	return rapid.Custom(func(r *rapid.T) T {
		if rapid.IntRange(0, 19).Draw(r, "odd") == 19 {
			return odd.Draw(r, "odd one")
		}

		return usual.Draw(r, "usual one")
	})
}

func among(strings ...string) *rapid.Generator[string] { return rapid.SampledFrom(strings) }

func parts(generators ...*rapid.Generator[string]) *rapid.Generator[string] {
	return rapid.Custom(func(r *rapid.T) string {
		var s strings.Builder
		for _, generator := range generators {
			s.WriteString(generator.Draw(r, "part"))
		}

		return s.String()
	})
}
