"""An application made with pywa and FastAPI that writes each text it gets into the file RECEIVED, synced, then answers."""

import os

import fastapi
import uvicorn
from pywa import WhatsApp

HOST, PORT = os.environ["APPLICATION"].split(":")


def keep(_, message):
    with open(os.environ["RECEIVED"], "a", encoding="utf-8") as received:
        received.write(f"{message.text}\n")
        received.flush()
        os.fsync(received.fileno())


app = fastapi.FastAPI()
# Without `continue_handling` pywa answers after the handlers, so an answer means that the text is kept.
wa = WhatsApp(phone_id="107878721936019", token="none", server=app, webhook_endpoint="/events", verify_token="unused",
              app_secret=os.environ["APP_SECRET"], validate_updates=True, filter_updates=False)
wa.on_message()(keep)
uvicorn.run(app, host=HOST, port=int(PORT), log_level="warning")
