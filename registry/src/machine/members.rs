//! Commands on the members of an image. They leave the image record as it is.

use super::{Change, Draft, StateView, Step, images::check_count};
use crate::{
    image::{ImageId, Member, MemberStatus, Visibility},
    outcome::{CountedThing, Outcome, Rejection},
};

impl<V: StateView> Draft<'_, V> {
    pub(super) fn add_member(&mut self, id: ImageId, member: &str, quota: Option<u64>) -> Step {
        let image = self.image(id)?;
        if image.attributes.visibility != Visibility::Shared {
            return Err(Rejection::NotShared.into());
        }
        let members = self.view.members(image.row)?;
        if members.iter().any(|known| known.member_id == member) {
            return Err(Rejection::MemberExists.into());
        }
        check_count(CountedThing::Member, members.len() + 1, quota)?;
        let after = Member {
            image_id: id,
            member_id: member.to_owned(),
            status: MemberStatus::Pending,
            created_at: self.now,
            updated_at: self.now,
        };
        self.changes.push(Change::PutMember {
            row: image.row,
            before: None,
            after: after.clone(),
        });
        Ok(Outcome::Member(after))
    }

    pub(super) fn set_member_status(
        &mut self,
        id: ImageId,
        member: &str,
        status: MemberStatus,
    ) -> Step {
        let (row, before) = self.member(id, member)?;
        let after = Member {
            status,
            updated_at: self.now,
            ..before.clone()
        };
        self.changes.push(Change::PutMember {
            row,
            before: Some(before),
            after: after.clone(),
        });
        Ok(Outcome::Member(after))
    }

    pub(super) fn remove_member(&mut self, id: ImageId, member: &str) -> Step {
        let (row, member) = self.member(id, member)?;
        self.changes.push(Change::RemoveMember { row, member });
        Ok(Outcome::Done)
    }

    fn member(&self, id: ImageId, member: &str) -> Step<(u32, Member)> {
        let image = self.image(id)?;
        let member = self
            .view
            .member(image.row, member)?
            .ok_or(Rejection::MemberNotFound)?;
        Ok((image.row, member))
    }
}
