// Runs firmware/wire on MicroPython: `vectors FILE` prints what tests/micropython/vectors.py makes of the vectors, `device TTY` is a box
// at a pseudo-terminal (tests/micropython/device.py). MicroPython gets bytes and the time, as a board's loop would give them.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [root, packages, mode, target] = process.argv.slice(2);
const found = createRequire(path.join(packages, "x.js")).resolve("@micropython/micropython-webassembly-pyscript/micropython.mjs");
const { loadMicroPython } = await import(pathToFileURL(found));
const mp = await loadMicroPython({ heapsize: 24 * 1024 * 1024, stdout: (line) => console.log(line) });
mp.FS.mkdir("/firmware");
mp.FS.mkdir("/firmware/wire");
mp.FS.writeFile("/firmware/__init__.py", "");
for (const name of fs.readdirSync(path.join(root, "firmware/wire")).filter((name) => name.endsWith(".py"))) {
  mp.FS.writeFile(`/firmware/wire/${name}`, fs.readFileSync(path.join(root, "firmware/wire", name)));
}
mp.runPython("import sys\nsys.path.insert(0, '/')\n");

if (mode === "vectors") {
  mp.FS.writeFile("/vectors.json", fs.readFileSync(target));
  mp.runPython(fs.readFileSync(path.join(root, "tests/micropython/vectors.py"), "utf-8"));
} else {
  mp.runPython(fs.readFileSync(path.join(root, "tests/micropython/device.py"), "utf-8"));
  const turn = mp.globals.get("turn");
  const descriptor = fs.openSync(target, "r+");
  const began = performance.now();
  const put = (out) => {
    const data = Buffer.from(out, "hex");
    for (let at = 0; at < data.length; ) at += fs.writeSync(descriptor, data, at);
  };
  const buffer = Buffer.alloc(4096);
  const read = () =>
    fs.read(descriptor, buffer, 0, buffer.length, null, (error, count) => {
      if (error || count === 0) process.exit(0);
      put(turn(buffer.subarray(0, count).toString("hex"), Math.floor(performance.now() - began)));
      setImmediate(read);
    });
  setInterval(() => put(turn("", Math.floor(performance.now() - began))), 10);
  console.log("ready");
  read();
}
