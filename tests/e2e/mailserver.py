"""A real mail server (RFC 5321) that keeps what it is given, and can be stopped and started at the same address."""

import email
import email.policy
import threading

from aiosmtpd.controller import Controller

from alone import free_port


class MailServer:
    """Listens on loopback; `messages` are parsed as a mail reader parses them."""

    def __init__(self):
        self.port = free_port()
        self.refuse = None
        self._lock = threading.Lock()
        self._taken = []
        self._controller = None

    async def handle_DATA(self, _server, _session, envelope):
        if self.refuse:
            return self.refuse
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        with self._lock:
            self._taken.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.content, message))
        return "250 OK"

    def start(self):
        # Without SMTPUTF8, as a plain server of an agency: what is not ASCII must be encoded.
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, enable_SMTPUTF8=False)
        self._controller.start()
        return self

    def stop(self):
        if self._controller:
            self._controller.stop(no_assert=True)
            self._controller = None

    def to(self, address):
        """What was taken for `address`: (sender, raw octets, message) of each."""
        with self._lock:
            return [(sender, raw, message) for sender, readers, raw, message in self._taken if address in readers]

    def settings(self):
        """The environment that points a control plane here."""
        return {
            "CIVICNET__CASEWORK__SMTP__HOST": "127.0.0.1",
            "CIVICNET__CASEWORK__SMTP__PORT": str(self.port),
            "CIVICNET__CASEWORK__SMTP__ENCRYPTION": "none",
            "CIVICNET__CASEWORK__SMTP__FROM": "civicnet 通知 <no-reply@civicnet.test>",
        }
