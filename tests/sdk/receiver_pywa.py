"""An application made with pywa and FastAPI that writes each text it gets into the file RECEIVED, synced, then answers.

The routes that pywa registers by itself answer before the handlers have run: an event is then lost with the process. A route
of one's own that calls `webhook_update_handler` answers afterwards.
"""

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


wa = WhatsApp(phone_id="107878721936019", token="none", server=None, verify_token="unused",
              app_secret=os.environ["APP_SECRET"], validate_updates=True, filter_updates=False)
wa.on_message()(keep)
app = fastapi.FastAPI()


@app.post("/events")
async def events(request: fastapi.Request):
    body = await request.body()
    refused = wa.webhook_update_validator(body, request.headers.get("x-hub-signature-256"))
    text, status = refused or wa.webhook_update_handler(body)
    return fastapi.Response(text, status)


uvicorn.run(app, host=HOST, port=int(PORT), log_level="warning")
