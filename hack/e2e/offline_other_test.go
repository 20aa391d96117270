//go:build !linux

package e2e

import "errors"

const withoutNetworkVariable = "NAGI_E2E_WITHOUT_NETWORK"

func becomeWithoutNetwork() error { return errors.New("this system has no network namespaces") }
