package knowledge

// Limits bound what media servers may say, so that one that is broken, or means
// harm, costs others nothing. What is left 0 has the value named.
type Limits struct {
	// MediaServers bounds the media servers of a namespace; 5,000.
	MediaServers int
	// Channels bounds the channels of a media server; 20,000.
	Channels int
	// Connections bounds the connections of a channel; 20,000.
	Connections int
	// MediaServerConnections bounds the connections of a media server; 100,000.
	MediaServerConnections int
	// NamespaceConnections bounds the connections of a namespace; 400,000.
	NamespaceConnections int
	// NamespaceChannels bounds the channels of a namespace, each counted once for
	// every media server that hosts it; 200,000.
	NamespaceChannels int
	// ConnectionBytes bounds what the connections of a media server have on the wire,
	// and NamespaceConnectionBytes those of a namespace; 64 MiB and 256 MiB.
	ConnectionBytes, NamespaceConnectionBytes int
	// States bounds the states of pauses that a media server has acknowledged, and
	// NamespaceStates those of a namespace; 500,000 and 1,000,000.
	States, NamespaceStates int
	// PartBytes bounds what a stream's messages of which parts are still to come take
	// in memory; 64 MiB.
	PartBytes int
	// Names bounds the connections that have left and are remembered, and the media
	// servers that were given up, per namespace; 100,000. The oldest are forgotten.
	Names int
}

func (l *Limits) setDefaults() {
	for _, limit := range []struct {
		value    *int
		standard int
	}{
		{&l.MediaServers, 5_000},
		{&l.Channels, 20_000},
		{&l.Connections, 20_000},
		{&l.MediaServerConnections, 100_000},
		{&l.NamespaceConnections, 400_000},
		{&l.NamespaceChannels, 200_000},
		{&l.ConnectionBytes, 64 << 20},
		{&l.NamespaceConnectionBytes, 256 << 20},
		{&l.States, 500_000},
		{&l.NamespaceStates, 1_000_000},
		{&l.PartBytes, 64 << 20},
		{&l.Names, 100_000},
	} {
		if *limit.value == 0 {
			*limit.value = limit.standard
		}
	}
}
