// Package crd holds the CustomResourceDefinition of RtpStreamPause, so that a
// program finds it without the source tree.
package crd

import _ "embed" // The generated manifest becomes part of the program.

// RtpStreamPauses is the CustomResourceDefinition of RtpStreamPause, in YAML, as
// `make manifests` generates it. It must not be changed.
//
//go:embed bases/rtp.nagi.dev_rtpstreampauses.yaml
var RtpStreamPauses []byte
