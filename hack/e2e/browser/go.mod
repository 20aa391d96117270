// The browser tests. A module of their own, so that the browser driver stays out
// of the main go.mod.
module github.com/nagi-rtc/nagi/hack/e2e/browser

go 1.26.0

require (
	github.com/chromedp/chromedp v0.23.0
	github.com/coder/websocket v1.8.15
)

require (
	github.com/chromedp/cdproto v0.159.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
)
