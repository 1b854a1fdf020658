"""Who may read the audit log."""

from __future__ import annotations

import attrs

from aemos.model import Principal
from aemos.services import access
from aemos.storage import audit_log
from aemos.storage.audit_log import Filter
from aemos.storage.database import Database
from aemos.storage.listing import Listed, Listing

_READ = "organization.update"  # what administrators of an organization hold, and others do not


@attrs.define
class AuditLog:
    """Shows entries about an organization to who holds organization.update there.

    Entries about no organization, such as sign-ins, are for System Admins.
    """

    _database: Database

    async def listed(
        self, by: Principal, organization_id: int | None, wanted: Filter, listing: Listing
    ) -> Listed:
        """@param organization_id: None = about all that `by` may read about.

        @raise Forbidden: `by` may not read about that organization.
        """
        if organization_id is None:
            scope = access.scope(by, _READ)
        else:
            access.require(by, _READ, organization_id)
            scope = [organization_id]
        return await self._database.read(audit_log.listed, scope, wanted, listing)
