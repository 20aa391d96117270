// Calls of the shim, which speaks Sora's HTTP API.

const explanations = {
  "CHANNEL-NOT-FOUND": "The channel has no connections any more.",
  "CONNECTION-NOT-FOUND": "One of the two is not in the channel any more.",
  "SAME-CONNECTION": "Nobody receives their own video.",
  "SAME-BUNDLE": "The two are of one bundle, and do not receive each other.",
  "DIFFERENT-MEDIA-SERVERS": "The two are on different media servers.",
  "ROLE-MISMATCH": "That receiver does not receive, or that sender does not send.",
  "STILL-PAUSED": "Another pause object still pauses this video; whoever made it must delete or edit it",
  "BEING-DELETED": "The pause is being deleted, and something holds that up",
  "TOO-MANY": "More videos are paused in this channel than can be listed",
  "UNAUTHENTICATED": "The shim asks for a token, or does not take this one: give one under Tokens, “to pause”",
  "FORBIDDEN": "Whoever this token is of, or the shim itself, may not do that in its namespace",
  "NOT-CONFIRMED": "Not confirmed in time. Asking again is harmless",
  "NAME-TAKEN": "Another pause object has the name of this one",
  "PAUSE-REFUSED": "The pause cannot come to act",
  "NAMESPACE-NOT-FOUND": "The shim's namespace does not exist.",
  "NAMESPACE-TERMINATING": "The shim's namespace is being deleted.",
  "KUBERNETES-UNAVAILABLE": "The shim cannot reach Kubernetes.",
};

export class Shim {
  #url;
  #token;

  // token() is the bearer token to show; empty: none.
  constructor(url, token) { this.#url = url; this.#token = token; }

  pause(channel, receiver, sender) { return this.#edge("PauseRtpStream", channel, receiver, sender); }

  resume(channel, receiver, sender) { return this.#edge("ResumeRtpStream", channel, receiver, sender); }

  listPauses(channel) { return this.#post("Sora_20200401.ListPauseRtpStreams", { channel_id: channel }); }

  #edge(operation, channel, receiver, sender) {
    return this.#post(`Sora_20200401.${operation}`, {
      channel_id: channel, recv_connection_id: receiver, send_connection_id: sender,
    });
  }

  // #post returns the response's JSON; its errors can be shown to people.
  async #post(target, body) {
    const headers = { "content-type": "application/json", "x-sora-target": target };
    const token = this.#token();
    if (token) headers.authorization = `Bearer ${token}`;
    let response;
    try {
      response = await fetch(this.#url, {
        method: "POST",
        headers,
        body: JSON.stringify(body),
      });
    } catch {
      throw new Error(`The shim at ${this.#url} gave no answer to this page. Is it running with --cors-origin=${location.origin}?`);
    }
    const text = await response.text();
    if (response.ok) return text ? JSON.parse(text) : null;
    throw new Error(explain(response.status, text));
  }
}

function explain(status, text) {
  let error = {};
  try { error = JSON.parse(text) ?? {}; } catch { /* an empty body, or not the shim's */ }
  const type = error.error_type ?? error.type ?? `HTTP ${status}`;
  const reason = error.error_reason ? `: ${JSON.stringify(error.error_reason)}` : "";
  return `${explanations[type] ?? "The shim refused"}${reason} (${type})`;
}
