"""What an error of the database means: whose fault it is, and the sentence for a person. Pure."""

from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError, SQLAlchemyError, StatementError

from voipfleet.errors import VoipfleetError

_LOST = {2002, 2003, 2006, 2013, 2055, 1040, 1053, 1290, 1836}  # the server is away, full, stopping or read-only
# Lock timeout, deadlock (and Galera's certification failure), a row that changed since the snapshot, and a savepoint
# that one of them took away: try again.
_CONFLICT = {1020, 1205, 1213, 1305}
_OF_THE_ROW = ("22", "23", "45")  # classes of SQLSTATE: data, constraint, a trigger's refusal
# The server's number -> what to do.
_REMEDIES = {
    **dict.fromkeys((2002, 2003, 2006, 2013), "start it, or correct mysqlhost and mysqlport"),
    **dict.fromkeys((1044, 1045, 1130, 1698), "correct mysqluser and mysqlpassword, or grant that user this database"),
    **dict.fromkeys((1142, 1143), "grant that user SELECT, INSERT, UPDATE and DELETE; tables are changed by"
                                  " `voipfleet db migrate --user ADMINISTRATOR`"),
    1049: "create it, or correct mysqldb",
    **dict.fromkeys((1146, 1054), "run `voipfleet db migrate`"),
}  # fmt: skip


class StoreUnavailable(VoipfleetError):
    """The database does not answer, or is not ready; nothing was acknowledged."""

    temporary = True


def sentence(place: str, error: SQLAlchemyError) -> str:
    """`place` as voipfleet.central.url.place() says it. The statement and its values, personal data, stay out."""
    cause = getattr(error, "orig", None) or error
    why = cause.args[1] if len(cause.args) > 1 else str(cause)
    number = code(error) if isinstance(error, DBAPIError) else 0
    return f"database ({place}): {why}; {_REMEDIES.get(number, 'check that it runs and that this user may use it')}"


def is_conflict(error: DBAPIError) -> bool:
    """The transaction lost against another one; the whole of it may be tried again."""
    return code(error) in _CONFLICT


def raise_unless_of_the_row(error: Exception) -> None:
    """Raise what is the database's fault, or a conflict; return for a row that it will never take."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or code(error) in _LOST | _CONFLICT:
            raise error
        if (getattr(error.orig, "sqlstate", None) or "").startswith(_OF_THE_ROW):
            return
        if isinstance(error, OperationalError | ProgrammingError):
            raise error
    elif isinstance(error, SQLAlchemyError) and not isinstance(error, StatementError):
        raise error


def code(error: DBAPIError) -> int:
    """The server's error number; 0 where there is none."""
    args = getattr(error.orig, "args", ())
    return args[0] if args and isinstance(args[0], int) else 0
