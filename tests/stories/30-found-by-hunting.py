"""Faults that a hunt through the daemon found; each story failed before its fault was mended."""


def test_being_asked_who_one_is_before_a_push_does_not_end_reading(site):
    """git asks without a password first; GitHub answers that with 401, whoever may read the repository."""
    site.upstream.ordinary_repo("org/project")
    site.warm("org/project")
    site.proxy.answer(401, [("WWW-Authenticate", 'Basic realm="x"')], match="git-receive-pack")
    answer = site.weir.ask("GET", site.weir.repo_target("org/project", "info/refs?service=git-receive-pack"))
    assert answer.status == 401
    site.go_offline()
    assert site.git.ls_remote(site.weir.url("org/project")).refs
