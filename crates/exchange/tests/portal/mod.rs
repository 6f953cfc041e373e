//! The members' side on both databases: applications that provision, protection, tenants kept apart.

mod applications;
mod house;
mod protection;
