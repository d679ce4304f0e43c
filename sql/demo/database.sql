-- The demo's database.
create database shop
