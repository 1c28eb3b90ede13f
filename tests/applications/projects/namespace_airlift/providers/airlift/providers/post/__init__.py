"""What sends letters."""


def send(to):
    return f"sent to {to}"
