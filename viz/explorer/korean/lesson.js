// Korean for the lesson.

export default {
};
