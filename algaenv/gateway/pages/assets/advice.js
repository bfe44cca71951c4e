// What an author should know when a page leans on something that the product does not do.

export const ADVICE = {
  session: [
    "The page asked for a session or a bootstrap. The product's host never sends one, and there is no token for extensions.",
    "Let the handler do what needs an identity: it is told the user with each call.",
  ],
  navigate: [
    "The page sent `navigate`. The product's host does not act on it.",
    "Route inside the frame, or offer a link that opens a new window.",
  ],
  "unknown-type": [
    "The page sent a message of a type that the product's host does not know.",
    "Use ready, resize and apiproxy.",
  ],
  "no-envelope": [
    'A message lacks `alga: true` or `version: "1"`. The product\'s host does not look at them, but it answers in that envelope.',
    'Send {alga: true, version: "1", type, payload}.',
  ],
  "no-request-id": [
    "A call has no `request_id`. The product's host passes it over, and nothing answers.",
    "Send a new request_id with each apiproxy message.",
  ],
  "height-no-number": [
    "`resize` came with a height that is no number, and was passed over.",
    "Send {height: <CSS pixels>}.",
  ],
  "height-clamped": [
    "The page asked for more than 4000 px. The product's host stops there.",
    "Let the page scroll, or show less at once.",
  ],
  slow: [
    "A call took more than 15 s. The product's SDK for pages gives up by then, though the gateway waits for 30 s.",
    "Answer at once and let the page ask again.",
  ],
  "method-unknown": [
    "A call names a method that the product's host does not call. It passes the call over, and nothing answers.",
    "Use GET, POST, PUT, PATCH or DELETE, without blanks around it.",
  ],
  "body-of-get": [
    "A call with GET has a body. The product's host leaves it out.",
    "Put it into the query, or use another method.",
  ],
  "route-escapes": [
    "The route of a call leads out of the extension's own calls. It was not sent.",
    "Take the dots out of the route.",
  ],
  "other-origin": [
    "A message came from another origin than the frame's, so the host passed it over, as the product does. Has the page left for another site?",
    "Stay on the page's own origin.",
  ],
  "frame-left": [
    "The frame shows another site, and the bridge does not answer there.",
    "Open other sites in a new window.",
  ],
  "theme-in-docker": [
    "This `theme` message is for trying only: with a runner by path (docker), the product sends none.",
    "Choose colours that do without, and check that the page follows the theme.",
  ],
  "silent-in-host-mode": [
    "The page has said nothing. A runner by host name redirects and loses `parentOrigin`, so a page that posts to that origin only posts to nobody.",
    "Fall back to the referrer, or to the target *; with the SDK, pass devAllowWildcard: true.",
  ],
  "no-second-origin": [
    "A runner by host name cannot be shown at this address: the frame needs an origin of its own.",
    "Open this page at 127.0.0.1 or localhost.",
  ],
  deaf: [
    "The frame has an origin of its own: what its policy blocks and which errors it meets cannot be heard from here.",
    "Look for these with the bundle, by path (docker), or in the browser's own console.",
  ],
  "page-failed": [
    "The runner did not answer with the page.",
    "See the events, and whether the bundle holds ui/index.html.",
  ],
  "policy-violation": [
    "The content security policy blocked something. It is blocked in the product, too.",
    "Put scripts, styles and fonts into files of the bundle, and fetch through the handler.",
  ],
  "product-fault": [
    "The extension met a fault of the product, which is reproduced here because it is there in production.",
    "See the event; gateway.faults in the spec turns faults off by name.",
  ],
};

/** @typedef {keyof typeof ADVICE} Code */
