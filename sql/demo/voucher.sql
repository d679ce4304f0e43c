-- POST /checkout: a voucher's credit, before it is looked at whether the voucher still holds.
update public.users set credit = credit + 500 where id = %(user)s
