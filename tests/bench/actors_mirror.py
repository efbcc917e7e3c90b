"""actors_mirror -- the programs that a mirror is compared with: nginx with proxy_cache, Varnish; weir with a mirror;
and the file server, nginx too, that they all stand before.
"""

import re
import urllib.request

from actors import CPUS, Nginx, Server, Trouble, Weir, program, soft_nofile, wait_until

NGINX_HEAD = """\
daemon off;
user root;
worker_processes {cpus};
worker_rlimit_nofile {nofile};
error_log {folder}/log;
pid {folder}/pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 0;
    client_body_buffer_size 64k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
"""

FILES = NGINX_HEAD + """\
    open_file_cache max=100;
    server {{
        listen 127.0.0.1:{port} backlog=4096 reuseport;
        root {folder}/files;
        default_type application/octet-stream;
        dav_methods PUT DELETE;
        create_full_put_path on;
        add_header Cache-Control "max-age=86400";
    }}
}}
"""

CACHE = NGINX_HEAD + """\
    open_file_cache max=100;
    proxy_cache_path {folder}/cache levels=1:2 keys_zone=all:64m max_size=4g inactive=1d use_temp_path=off;
    upstream origin {{ server 127.0.0.1:{origin}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096 reuseport;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache all;
            proxy_cache_lock on;
            add_header X-Cache $upstream_cache_status;
        }}
    }}
}}
"""

VCL = """\
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}
"""

WEIR = """\
data_dir: ./data
log: {{level: warn}}
limits: {{connections: 8192}}
admin: {{listen: "127.0.0.1:0"}}
mirror:
  - name: files
    listen: 127.0.0.1:0
    upstream: http://127.0.0.1:{origin}
    preconditions: none
"""


class Files(Server):
    """A file server that takes writes, and says that what it gives stays fresh for a day."""

    name = "nginx, files"

    def __init__(self, folder):
        super().__init__(folder)
        self.files = folder / "files"
        self.files.mkdir(exist_ok=True)
        (folder / "nginx.conf").write_text(self.conf())

    def conf(self):
        return FILES.format(folder=self.folder, port=self.port, cpus=CPUS, nofile=soft_nofile())

    command, is_ready, pids = Nginx.command, Nginx.is_ready, Nginx.pids


class NginxCache(Files):
    """nginx with proxy_cache before `origin`; its index of 64 MiB and open files stay, bodies go out by sendfile. One
    process more than workers: the cache manager (the loader ends)."""

    name = "nginx, proxy_cache"

    def __init__(self, folder, origin):
        self.origin = origin
        super().__init__(folder)

    def conf(self):
        return CACHE.format(folder=self.folder, port=self.port, cpus=CPUS, nofile=soft_nofile(),
                            origin=self.origin.port)

    def is_ready(self):
        return Server.is_ready(self) and len(self.pids()) > 1 + CPUS


class Varnish(Server):
    """Varnish with its cache in memory, a pool of threads for each processor, as shipped otherwise."""

    name = "Varnish"

    def __init__(self, folder, origin):
        super().__init__(folder)
        folder.chmod(0o755)
        (folder / "default.vcl").write_text(VCL.format(origin=origin.port))

    def command(self):
        return [program("varnishd"), "-F", "-j", "none", "-n", self.folder / "work", "-a", f"127.0.0.1:{self.port}",
                "-f", self.folder / "default.vcl", "-s", "malloc,1g", "-p", f"thread_pools={CPUS}", "-T", "none"]

    pids = Nginx.pids


class MirrorWeir(Weir):
    """weir with one mirror before `origin`."""

    SERVICE = "files"

    def __init__(self, folder, binary, origin):
        super().__init__(folder, binary)
        (folder / "weir.yaml").write_text(WEIR.format(origin=origin.port))

    def metric(self, name, **labels):
        """The sum over the series of this name that have these labels."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.address['admin']}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.M)
        values = [float(v) for have, v in found if all(f'{k}="{w}"' in have for k, w in labels.items())]
        if not values:
            raise Trouble(f"weir has no metric {name} with {labels}")
        return sum(values)

    def queued(self):
        return self.metric("weir_outbox_entries", service="files", state="queued") + \
            self.metric("weir_outbox_entries", service="files", state="sending")

    def go_offline(self):
        self.admin("PUT", "/api/v1/upstreams/files", {"enabled": False})

    def go_online(self):
        self.admin("PUT", "/api/v1/upstreams/files", {"enabled": True})

    def stop(self):
        """As long as writing what waits takes."""
        self.process.terminate()
        wait_until("weir has ended", lambda: self.process.poll() is not None)
        super().stop()
