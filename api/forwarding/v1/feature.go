package forwardingv1

// Audience is what the tokens of callers are for: a token that is for the API server
// is none that managers take, and what managers are given opens nothing else.
const Audience = "nagi"

// FeatureToken names the feature of the message Token: a replica that names it reviews
// the caller's token again and again, and wants to have it renewed.
const FeatureToken = "token"
