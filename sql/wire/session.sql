-- How a connection that reads rows prints them: the walsender and the baseline use the same
-- settings, so that a value has one text. lc_monetary stays the role's own on both.
set client_encoding = 'UTF8';
set timezone = 'UTC';
set datestyle = 'ISO, MDY';
set intervalstyle = 'postgres';
set bytea_output = 'hex';
set extra_float_digits = 1;
