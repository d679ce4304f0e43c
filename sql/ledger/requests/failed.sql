-- Whether a request failed: a refusal (4xx) did not, an exception that was answered with one neither.
coalesce(status >= 500, false) or (error_type is not null and coalesce(status, 0) < 400)
