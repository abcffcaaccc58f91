"""The tables of events as a Django app: migrations, models, pages for looking at them."""
