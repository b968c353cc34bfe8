"""Pages for people on the local network, shared by agent and gateway: both have the same manners.

- A leaf: it knows neither agent nor gateway nor proof, and is imported only where a page is switched on.
- Read-only: GET and HEAD. Nothing a request says becomes a file name, a header or a piece of HTML.
- `server`: the hardened shell on waitress; `app`: which requests are answered; `response`: what with;
  `static/`: style, helpers and the chart library.
"""
