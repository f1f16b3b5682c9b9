vcl 4.1;
backend origin { .host = "127.0.0.1"; .port = "$origin"; }
backend slow { .host = "127.0.0.1"; .port = "$slow"; }
sub vcl_recv {
  unset req.http.Cookie;
  if (req.url ~ "^/slow/") { set req.backend_hint = slow; } else { set req.backend_hint = origin; }
  if (req.method != "GET" || req.url ~ "^/(pass|stream)") { return (pass); }
  return (hash);
}
