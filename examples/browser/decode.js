// From a picture file to pixels, as the model's `reading` says.

/**
 * @param {File} file
 * @param how the model's preprocessing
 * @returns {Promise<ImageData>} Rejects for what is no picture that this browser reads.
 */
export async function decode(file, how) {
  const upright = how.reading === "upright"; // turned as EXIF says, colours to sRGB; else neither
  const bitmap = await createImageBitmap(upright ? file : await unturned(file), {
    colorSpaceConversion: upright ? "default" : "none",
  });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // under what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** The same without EXIF, where it is a JPEG: browsers turn each picture as that says, whatever they are told. */
async function unturned(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return file;
  // segments with a marker and a length each, up to the compressed data
  for (let at = 2; bytes[at] === 0xff && bytes[at + 1] !== 0xda; at += 2 + 256 * bytes[at + 2] + bytes[at + 3]) {
    if (bytes[at + 1] === 0xe1) bytes[at + 1] = 0xef; // from the marker of EXIF to one that nobody reads
  }
  return new Blob([bytes]);
}
