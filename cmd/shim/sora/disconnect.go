package sora

import (
	"context"
	"maps"
)

// disconnectConnection ends one connection, which is told 1000 DISCONNECTED-API.
func (h *Handler) disconnectConnection(ctx context.Context, arguments arguments) (any, error) {
	return h.disconnected(ctx, arguments, func(ctx context.Context) error {
		return h.config.Replicas.DisconnectConnection(ctx, arguments.text["channel_id"], arguments.text["connection_id"])
	})
}

// disconnectClient ends all connections of a client in the channel.
func (h *Handler) disconnectClient(ctx context.Context, arguments arguments) (any, error) {
	return h.disconnected(ctx, arguments, func(ctx context.Context) error {
		return h.config.Replicas.DisconnectClient(ctx, arguments.text["channel_id"], arguments.text["client_id"])
	})
}

// disconnectChannel ends all connections of the channel.
func (h *Handler) disconnectChannel(ctx context.Context, arguments arguments) (any, error) {
	return h.disconnected(ctx, arguments, func(ctx context.Context) error {
		return h.config.Replicas.DisconnectChannel(ctx, arguments.text["channel_id"])
	})
}

// disconnected runs one of them and answers its arguments, the documented reason
// included, whatever JSON it is.
func (h *Handler) disconnected(
	ctx context.Context, arguments arguments, disconnect func(context.Context) error,
) (any, error) {
	waiting, cancel := context.WithTimeout(ctx, h.config.PauseTimeout)
	defer cancel()
	if err := disconnect(waiting); err != nil {
		return nil, h.unanswered("who was disconnected is not known", err)
	}
	echo := map[string]any{}
	for key := range maps.Keys(arguments.text) {
		echo[key] = arguments.text[key]
	}
	if reason, given := arguments.object["reason"]; given {
		echo["reason"] = reason
	}

	return echo, nil
}
