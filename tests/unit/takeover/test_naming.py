import pytest

from mythjobs.takeover.naming import derive_name


@pytest.mark.parametrize(
    "text, name",
    [
        ("/usr/local/bin/backup.sh --all", "backup"),
        ("cd / && run-parts --report /etc/cron.hourly", "cron-hourly"),
        ("test -x /usr/sbin/anacron || { cd / && run-parts /etc/cron.daily; }", "cron-daily"),
        ("[ -d /run/systemd/system ] || /usr/lib/php/sessionclean", "sessionclean"),
        ("cd /srv && nice -n 19 ./tidy.py", "tidy"),
        ("sleep 30; LANG=C flock -n /tmp/lock /opt/Sync_Now.sh >/dev/null 2>&1", "sync-now"),
        ("/usr/bin/python3 -m http.server", "http-server"),
        ('mail -s "It\'s 10pm" joe', "mail"),
        ("$HOME/bin/daily.job >> $HOME/tmp/out 2>&1", "job"),
        ('echo "$FOO" $(date +%S) >> /tmp/tick; cat >> /tmp/tick', "cat"),
        ("echo hello", "hello"),
        ("if [ -x /opt/a ]; then /opt/a; fi", "a"),
        ("sudo -u www-data php /var/www/cron.php", "cron"),
        ("7z a /backup.7z /srv", "job-7z"),
        ("run", "run-job"),
        ("(cd /x; make)", "make"),
    ],
)  # fmt: skip
def test_a_name_is_derived_from_the_program(text: str, name: str) -> None:
    assert derive_name(text) == name
