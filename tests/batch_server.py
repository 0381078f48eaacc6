"""A Batch API beside the chat of `FaultServer`: files, batches, results in another order, partial failure.

`with BatchServer(plan) as server:` answers each line of a batch as the plan says for that question and attempt; a fault
that is no HTTP status leaves the line out of the results. Batches take `looks` polls until they are done.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from typing import Any

from tests.fault_server import FaultServer, Plan, error, good


class BatchServer(FaultServer):
    """`submitted` counts how often each question stood in a batch; `statuses` overrides how a batch ends."""

    def __init__(self, plan: Plan = good, looks: int = 2) -> None:
        super().__init__(plan)
        self.looks = looks
        self.statuses: list[str] = []
        """How the next batches end; completed when there is none"""
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.queries: set[str] = set()
        """Of the addresses of all calls about files and batches"""

    async def _reply(self, path: str, head: str, content: bytes, writer: asyncio.StreamWriter) -> bool:
        if "/files" not in path and "/batches" not in path:
            return await super()._reply(path, head, content, writer)
        method = head.split(" ", 1)[0]
        self.queries.add(path.partition("?")[2])
        name = path.split("?")[0].removeprefix("/v1/")
        self.calls.append(f"{method} {name}")
        status, data = self._api(method, name.split("/"), head, content)
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        )
        writer.write(data)
        await writer.drain()
        return True

    def _api(self, method: str, parts: list[str], head: str, content: bytes) -> tuple[int, bytes]:
        if parts == ["files"]:
            boundary = re.search(r'boundary="?([^\r\n;"]+)', head)
            assert boundary
            name = f"file-{len(self.files)}"
            for part in content.split(b"--" + boundary.group(1).encode()):
                if b'name="file"' in part.partition(b"\r\n\r\n")[0]:
                    self.files[name] = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
            return 200, dump({"id": name, "object": "file", "purpose": "batch", "status": "processed"})
        if parts[0] == "files" and parts[1] in self.files:
            return 200, self.files[parts[1]]
        if parts == ["batches"] and method == "POST":
            name = f"batch_{len(self.batches)}"
            end = self.statuses.pop(0) if self.statuses else "completed"
            self.batches[name] = {
                "id": name,
                "object": "batch",
                "status": "in_progress",
                "left": self.looks,
                "end": end,
                **json.loads(content),
            }
            return 200, dump(self.batches[name])
        if parts == ["batches"]:
            return 200, dump({"object": "list", "data": list(self.batches.values()), "has_more": False})
        if parts[0] == "batches" and parts[1] in self.batches:
            return 200, dump(self._look(self.batches[parts[1]]))
        return 404, error("No such thing", "not_found")

    def _look(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["left"] -= 1
        if batch["left"] > 0 or batch["status"] != "in_progress":
            return batch
        batch["status"] = batch["end"]
        if batch["end"] == "failed":
            batch["errors"] = {"data": [{"code": "model_not_found", "message": "The model does not exist"}]}
            return batch
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        if batch["end"] != "completed":
            lines = lines[: len(lines) // 2]
        good_ones: list[dict[str, Any]] = []
        bad_ones: list[dict[str, Any]] = []
        for line in lines:
            outcome = self._line(line)
            if outcome is not None:
                (good_ones if outcome["response"]["status_code"] == 200 else bad_ones).append(outcome)
        random.Random(1).shuffle(good_ones)
        for kind, rows in (("output_file_id", good_ones), ("error_file_id", bad_ones)):
            if rows:
                batch[kind] = f"{kind}-{batch['id']}"
                self.files[batch[kind]] = b"".join(dump(row) + b"\n" for row in rows)
        return batch

    def _line(self, line: dict[str, Any]) -> dict[str, Any] | None:
        tag = re.search(r"#(\d+)#", json.dumps(line["body"]["messages"]))
        number = int(tag.group(1)) if tag else -1
        fault = self.plan(number, self.asked[number])
        self.asked[number] += 1
        if fault in {"drop", "hang"}:
            return None
        status, data, _ = self._what(fault, number, line["body"], "")
        self.answered[number] += status == 200
        response = {"status_code": status, "request_id": "r", "body": json.loads(data)}
        return {"id": f"r{number}", "custom_id": line["custom_id"], "response": response, "error": None}


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
