import time
import dagster as dg, traceback
from datetime import timedelta
def test_a(installation):
    t=time.time(); r=installation.run(); print(r, time.time()-t)
    t=time.time(); r=installation.run(); print(r, time.time()-t)
    print(installation.attempt()); print(installation.keys()); print(installation.manifest().warnings)
    r=installation.run("customers","notes"); print(r, installation.attempt().kind)
    with installation.instance() as i:
        t=time.time();r=installation.run_job("shop_tables_only","notes",instance=i); print(r.success, installation.attempt(), time.time()-t)
def test_dates(installation):
    for d in (1,-1, 4000):
        try: print(d, installation.run(day=installation.today-timedelta(days=d)))
        except BaseException as e: traceback.print_exc(limit=3); print(type(e))
    print([a.status for a in installation.attempts()], installation.keys(), installation.alerts())
def test_fail(installation):
    installation.sql("drop view totals; create view totals as select 1/(random()*0)::int as x")
    r=installation.run(); print(r); print(installation.step_failures(r.run_id)); print(installation.materialized()); print(installation.alerts(), installation.keys())
    print(installation.attempt())
