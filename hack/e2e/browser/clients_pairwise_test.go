//go:build !all

package browser

// pairings has each two values of what differs together at least once.
var pairings = []pairing{
	{sender: currentSDK, receiver: oldSDK, codec: "VP9", sendrecv: true},
	{sender: oldSDK, receiver: currentSDK, codec: "VP8", simulcast: true},
	{sender: oldSDK, receiver: oldSDK, codec: "VP9", simulcast: true},
	{sender: currentSDK, receiver: currentSDK, codec: "AV1", simulcast: true, sendrecv: true},
	{sender: oldSDK, receiver: currentSDK, codec: "AV1"},
	{sender: currentSDK, receiver: oldSDK, codec: "VP8"},
	{sender: oldSDK, receiver: oldSDK, codec: "VP8", sendrecv: true},
}
