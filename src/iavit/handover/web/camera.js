// One picture from the camera.

/** Wire the camera's buttons; `bring(blob)` gets the picture taken. */
export function wireCamera(bring, complain) {
  const [open, viewfinder, video, take, close] = ["camera", "viewfinder", "video", "take", "close-camera"].map(
    (id) => document.getElementById(id),
  );
  if (!navigator.mediaDevices?.getUserMedia) {
    open.hidden = true; // a page that is neither local nor https gets none
    return;
  }
  const stop = () => {
    video.srcObject?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    viewfinder.hidden = true;
    open.focus();
  };
  open.onclick = async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      complain(error.name === "NotFoundError" ? "There is no camera here; choose a file." : "The camera may not be used; allow it in the browser, or choose a file.");
      return;
    }
    viewfinder.hidden = false;
    await video.play();
    take.focus();
  };
  take.onclick = async () => {
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    stop();
    bring(await canvas.convertToBlob({ type: "image/png" }));
  };
  close.onclick = stop;
}
